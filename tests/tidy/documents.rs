//! Do the documents point to things that are there?

use super::{expect_none, sources::ending};
use crate::support::checkout;

#[test]
fn links_lead_to_files() {
    let mut problems = Vec::new();
    for file in ending(".md") {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in file.lines() {
            let gone = links(line).filter(|link| !checkout(folder).join(link).exists());
            problems.extend(gone.map(|link| file.at(number, &format!("there is no '{link}'"))));
        }
    }
    expect_none(problems);
}

/// Returns where the relative links of a line lead, without the part behind `#`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter_map(|target| target.split('#').next());
    files.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn links_are_found() {
    let line = "[a](b.md), [c](d/e.md#f) [g](https://h/) [i](#j) (k)";
    assert_eq!(links(line).collect::<Vec<_>>(), ["b.md", "d/e.md"]);
}
