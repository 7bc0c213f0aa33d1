//! How text reaches standard output and standard error.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};

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
    let text = if stdout.is_terminal() { visible(text) } else { Cow::Borrowed(text) };
    checked(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Writes the text and a newline to standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    checked(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// Writes a line for a person to standard error; when that is gone nobody is left to be told.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{}", visible(text)));
}

/// Makes what a model or a server says harmless to a terminal: control characters, and marks that turn text around.
fn visible(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| match is_harmful(c) {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    });
    Cow::Owned(escaped.collect())
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
    fn what_would_move_a_terminal_is_shown() {
        assert_eq!(visible("a\tb\nü"), "a\tb\nü");
        assert_eq!(visible("\u{1b}[31m\r\u{202e}x"), "\\u{1b}[31m\\u{d}\\u{202e}x");
    }

    #[test]
    fn only_a_broken_pipe_is_quiet() {
        let broken = checked(Err(io::ErrorKind::BrokenPipe.into())).expect_err("broken");
        assert!(broken.is::<Closed>());
        let full = checked(Err(io::ErrorKind::StorageFull.into())).expect_err("full");
        assert!(!full.is::<Closed>());
    }
}
