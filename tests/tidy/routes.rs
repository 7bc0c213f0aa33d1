//! Do the router, the table of routes before it and the manual name the same routes?

use super::{
    expect_none,
    sources::{file, has_word},
};

/// A path with one of its methods.
type Route = (String, String);

/// Returns the routes of the table in the order of their lines; HEAD counts only where GET does not answer it.
fn table() -> Vec<Route> {
    let text = &file("daemon/src/edge/routes.rs").text;
    let mut routes = Vec::new();
    for line in text.lines().filter(|line| line.trim_start().starts_with("Route { methods: ")) {
        let name = line.split("methods: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        let list = text.lines().find(|line| line.starts_with(&format!("const {name}: ")));
        let methods: Vec<&str> = quoted(list.unwrap()).collect();
        let path = quoted(line).next().unwrap();
        routes.extend(answered(&methods).map(|method| (method.to_owned(), path.to_owned())));
    }
    routes
}

/// Returns the routes of the router.
fn router() -> Vec<Route> {
    const METHODS: &[&str] = &["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE"];
    let text = &file("daemon/src/api.rs").text;
    let mut routes = Vec::new();
    for part in text.split(".route(").skip(1) {
        let part = part.split(".with_state").next().unwrap_or_default();
        let path = quoted(part).next().unwrap();
        let calls = |method: &&&str| has_word(part, &format!("{}(", method.to_lowercase()));
        let methods: Vec<&str> = METHODS.iter().filter(calls).copied().collect();
        routes.extend(answered(&methods).map(|method| (method.to_owned(), path.to_owned())));
    }
    routes
}

fn answered<'a>(methods: &[&'a str]) -> impl Iterator<Item = &'a str> {
    let has_get = methods.contains(&"GET");
    methods.iter().copied().filter(move |method| !(has_get && *method == "HEAD"))
}

/// Returns the texts in quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

#[test]
fn the_router_answers_what_the_table_lists() {
    let (table, router) = (table(), router());
    assert!(table.len() > 10, "daemon/src/edge/routes.rs: the rows have another form now");
    let missing = |from: &[Route], wanted: &[Route], place: &str| -> Vec<String> {
        let missing = wanted.iter().filter(|route| !from.contains(route));
        missing.map(|(method, path)| format!("{place}:1: add {method} {path}")).collect()
    };
    let mut problems = missing(&table, &router, "daemon/src/edge/routes.rs");
    problems.extend(missing(&router, &table, "daemon/src/api.rs"));
    expect_none(problems);
}

#[test]
fn the_manual_names_every_route() {
    let manual = &file("docs/api.md").text;
    let named = |(method, path): &Route| {
        let heading = format!("`{method} {}`", path.replace("{*", "{"));
        (!manual.contains(&heading)).then(|| format!("docs/api.md:1: describe {heading}"))
    };
    expect_none(table().iter().filter_map(named));
}
