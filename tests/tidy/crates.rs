//! Does every crate depend only on what lies below it, and is every outside crate named in one place?

use super::{
    expect_none,
    sources::{File, file, has_word, product},
};

/// Our crates and those of ours that each may use.
const ROOMS: &[(&str, &[&str])] = &[
    ("cli", &["daemon", "modelfiles"]),
    ("daemon", &["engine", "modelfiles", "registry"]),
    ("engine", &["modelfiles"]),
    ("modelfiles", &[]),
    ("registry", &["modelfiles"]),
];

/// Beginnings of the names of outside crates, and our crates that may use them.
const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["cli"]),
    ("axum", &["daemon"]),
    ("candle", &["engine"]),
    ("clap", &["cli"]),
    ("cudarc", &["engine"]),
    ("directories", &["daemon"]),
    ("hf-hub", &["registry"]),
    ("http", &["cli", "daemon"]),
    ("hyper", &["cli", "daemon"]),
    ("indicatif", &["cli"]),
    ("memmap", &["engine"]),
    ("reqwest", &["registry"]),
    ("safetensors", &["engine"]),
    ("sha2", &["registry"]),
    ("tar", &["registry"]),
    ("tokenizers", &["engine"]),
    ("tokio", &["cli", "daemon", "registry"]),
    ("toml", &["daemon"]),
    ("tower", &["cli", "daemon"]),
    ("zip", &["engine", "registry"]),
];

fn manifest(room: &str) -> &'static File {
    file(&format!("{room}/Cargo.toml"))
}

/// Returns the dependencies of a manifest with their lines; those of tests are not counted.
fn dependencies(manifest: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut counts = false;
    manifest.lines().filter_map(move |(number, line)| {
        if line.starts_with('[') {
            counts = line.ends_with("dependencies]") && !line.contains("dev-dependencies");
            assert!(!line.contains("dependencies."), "{line}: write it as one line of a list");
            return None;
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        (counts && !name.is_empty() && !name.starts_with('#')).then_some((number, name))
    })
}

/// Finds the dependencies that `allowed` refuses in the manifest of a crate.
fn refused(allowed: impl Fn(&str, &str) -> bool, advice: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (room, _) in ROOMS {
        let manifest = manifest(room);
        for (line, name) in dependencies(manifest).filter(|(_, name)| !allowed(room, name)) {
            problems
                .push(manifest.at(line, &format!("{room} must not depend on {name}: {advice}")));
        }
    }
    problems
}

#[test]
fn every_crate_has_its_row() {
    let members = file("Cargo.toml").lines().find(|(_, line)| line.starts_with("members"));
    let rooms: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let (line, members) = members.unwrap();
    assert_eq!(members, format!("members = {rooms:?}"), "Cargo.toml:{line}: add it to ROOMS here");
}

#[test]
fn crates_depend_on_what_lies_below() {
    let allowed = |room: &str, name: &str| {
        let is_ours = ROOMS.iter().any(|(ours, _)| *ours == name);
        !is_ours || ROOMS.iter().any(|(ours, below)| *ours == room && below.contains(&name))
    };
    expect_none(refused(allowed, "pass what it needs as an argument, see docs/architecture.md"));
}

#[test]
fn outside_crates_stay_at_home() {
    let allowed = |room: &str, name: &str| {
        HOMES.iter().all(|(start, homes)| !name.starts_with(start) || homes.contains(&room))
    };
    expect_none(refused(allowed, "the crate at home with it gives a function for what is needed"));
}

#[test]
fn every_dependency_is_used() {
    let mut problems = Vec::new();
    for (room, _) in ROOMS {
        let folder = format!("{room}/src/");
        let manifest = manifest(room);
        for (line, name) in dependencies(manifest) {
            let path = format!("{}::", name.replace('-', "_"));
            let of_room = product().filter(|file| file.path.starts_with(&folder));
            if !of_room.flat_map(File::product).any(|(_, line)| has_word(line, &path)) {
                problems.push(manifest.at(line, &format!("nothing names {path}: remove the line")));
            }
        }
    }
    expect_none(problems);
}
