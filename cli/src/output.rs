//! How text reaches standard output and standard error.

use std::fmt;
use std::io::{self, Write};

use anyhow::Result;

/// The reader of standard output has gone, which ends a command quietly.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("standard output was closed")
    }
}

impl std::error::Error for Closed {}

/// Writes the text as it is to standard output.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    checked(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Writes the text and a newline to standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    checked(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// Writes a line for a person to standard error; when that is gone nobody is left to be told.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Turns a broken pipe into [`Closed`].
pub(crate) fn checked(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_pipe_is_quiet() {
        let broken = checked(Err(io::ErrorKind::BrokenPipe.into())).expect_err("broken");
        assert!(broken.is::<Closed>());
        let full = checked(Err(io::ErrorKind::StorageFull.into())).expect_err("full");
        assert!(!full.is::<Closed>());
    }
}
