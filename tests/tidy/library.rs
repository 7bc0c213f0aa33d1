//! Does docs/models.md list every known model as it is?

use modelfiles::{
    Known, Origin,
    library::{self, MAIN_REVISION},
};

use super::{expect_none, sources::file};

const MANUAL: &str = "docs/models.md";

/// Returns the row of a model.
fn row(known: &Known) -> String {
    let sources: Vec<String> = known.sources.iter().map(source).collect();
    let runs = daemon::unsupported(known).is_none();
    format!(
        "| `{}` | {} | {} | {} | {} | {} |",
        known.name,
        sources.join(", "),
        known.architecture,
        known.size,
        known.license,
        if runs { "yes" } else { "no" }
    )
}

fn source(origin: &Origin) -> String {
    match origin {
        Origin::Hub { repo, revision } if revision == MAIN_REVISION => repo.clone(),
        Origin::Hub { repo, revision } => format!("{repo}@{revision}"),
        Origin::Pip { package, version } => format!("pip {package} {version}"),
        Origin::Folder(path) => path.clone(),
        Origin::Registry { host, repo, tag } => format!("{host}/{repo}:{tag}"),
    }
}

#[test]
fn the_manual_lists_every_known_model() {
    let manual = file(MANUAL);
    let rows: Vec<String> = library::all().iter().map(row).collect();
    let mut problems: Vec<String> = rows
        .iter()
        .filter(|row| !manual.lines().any(|(_, line)| line == *row))
        .map(|row| manual.at(1, &format!("add this row\n{row}")))
        .collect();
    let is_row = |line: &str| line.starts_with("| `") && line.matches('|').count() == 7;
    for (number, line) in manual.lines().filter(|(_, line)| is_row(line)) {
        if !rows.iter().any(|row| row == line) {
            problems.push(manual.at(number, "no such model: correct the row or remove it"));
        }
    }
    expect_none(problems);
}
