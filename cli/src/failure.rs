//! What a person is told when a command fails.

use std::fmt;

use crate::output;

/// A failure in words, with optional advice on what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// Returns a failure without advice.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds the advice shown on a line of its own.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Writes the error and its advice to standard error.
pub(crate) fn report(error: &anyhow::Error) {
    output::note(&render(error));
}

fn render(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Failure>().and_then(|failure| failure.hint.as_ref()) {
        Some(hint) => format!("Error: {error:#}\nhint: {hint}"),
        None => format!("Error: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_stands_on_its_own_line() {
        let failure = Failure::new("could not connect").hint("run 'vecuna serve' to start it");
        let want = "Error: could not connect\nhint: run 'vecuna serve' to start it";
        assert_eq!(render(&failure.into()), want);
        let outer = anyhow::anyhow!("refused").context(Failure::new("no").hint("yes"));
        assert_eq!(
            render(&outer.context("after 3 texts")),
            "Error: after 3 texts: no: refused\nhint: yes"
        );
        assert_eq!(render(&anyhow::anyhow!("inner").context("outer")), "Error: outer: inner");
    }
}
