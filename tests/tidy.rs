//! Do the sources keep the rules of docs/architecture.md? Each is checked on their text; a failure says what to do.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod crates;
mod documents;
mod library;
mod places;
mod routes;
mod shape;
mod sources;
mod tables;

/// Fails with all problems at once.
fn expect_none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}
