//! Is every file listed in the table next door, and does the top level hold only what belongs there?

use std::process::Command;

use super::{
    expect_none,
    sources::{TOP, all, ending, file},
};
use crate::support::checkout;

/// Folders whose files are rows of a table, the table, and what it says of a file; `{}` is the file's name.
const TABLES: &[(&str, &str, &[&str])] = &[
    ("engine/src/architectures/", "engine/src/architectures.rs", &["mod {};", "{}::ARCHITECTURE"]),
    ("registry/src/sources/", "registry/src/sources.rs", &["mod {};"]),
    ("daemon/src/api/", "daemon/src/api.rs", &["mod {};"]),
    ("cli/src/commands/", "cli/src/commands.rs", &["mod {};", "({}::Arguments)", "{}::run("]),
    ("modelfiles/library/", "modelfiles/src/library.rs", &["\n    \"{}\"\n"]),
];

#[test]
fn tables_list_their_files() {
    let mut problems = Vec::new();
    for (folder, table, rows) in TABLES {
        let names = all().iter().filter_map(|file| file.path.strip_prefix(folder));
        for name in names.filter(|name| !name.contains('/')) {
            let stem = name.strip_suffix(".rs").unwrap_or(name);
            for row in rows.iter().map(|row| row.replace("{}", stem)) {
                if !file(table).text.contains(&row) {
                    problems.push(format!("{folder}{name}:1: add `{}` to {table}", row.trim()));
                }
            }
        }
    }
    expect_none(problems);
}

#[test]
fn no_file_is_an_orphan() {
    let mut problems = Vec::new();
    for source in ending(".rs") {
        let (folder, name) = source.path.rsplit_once('/').unwrap();
        let stem = name.strip_suffix(".rs").unwrap();
        let is_root = ["main", "lib"].contains(&stem) || has_target(&source.path);
        if is_root {
            continue;
        }
        let parents =
            [format!("{folder}.rs"), format!("{folder}/main.rs"), format!("{folder}/lib.rs")];
        // A target is a root too: what lies beside it may be its module.
        let is_parent = |path: &String| {
            parents.contains(path) || path.starts_with(&format!("{folder}/")) && has_target(path)
        };
        let declared = all()
            .iter()
            .filter(|file| is_parent(&file.path))
            .any(|parent| parent.code().any(|(_, line)| line.ends_with(&format!("mod {stem};"))));
        if !declared {
            problems.push(source.at(1, &format!("no `mod {stem};` in {}", parents.join(" or "))));
        }
    }
    expect_none(problems);
}

/// Says whether a manifest makes a test or a benchmark of this file.
fn has_target(path: &str) -> bool {
    ending("/Cargo.toml").any(|manifest| {
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        let beside = path.strip_prefix(folder).unwrap_or_default();
        [&format!("../{path}"), beside]
            .iter()
            .any(|path| manifest.text.contains(&format!("path = \"{path}\"")))
    })
}

#[test]
fn the_top_level_is_small() {
    let listed = Command::new("git").arg("-C").arg(checkout("")).args(["ls-files", "-z"]).output();
    let listed = listed.ok().filter(|output| output.status.success());
    // Without git nobody can say which of the files that lie here belong to the project.
    let Some(listed) = listed else { return };
    let paths = String::from_utf8(listed.stdout).unwrap();
    let mut names: Vec<&str> =
        paths.split('\0').filter_map(|path| path.split('/').next()).collect();
    names.dedup();
    let foreign = names
        .iter()
        .filter(|name| !name.is_empty() && !name.starts_with('.') && !TOP.contains(name));
    expect_none(foreign.map(|name| format!("{name}:1: move it into one of {}", TOP.join(", "))));
}
