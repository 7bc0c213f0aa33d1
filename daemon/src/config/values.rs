//! How is the text of one setting read?

use std::time::Duration;

use modelfiles::duration::KeepAlive;
use tracing::Level;

/// Removes blanks, then quotes, as Ollama does; nothing left is not set.
pub(super) fn trim(text: &str) -> Option<&str> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    (!text.is_empty()).then_some(text)
}

/// Reads a boolean as Go does; text that is none counts as true, as in Ollama.
pub(super) fn boolean(text: &str) -> bool {
    !matches!(text, "0" | "f" | "F" | "false" | "FALSE" | "False")
}

/// Reads a decimal number without a sign.
pub(super) fn natural(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Reads how long to wait; zero and less are without limit.
pub(super) fn patience(text: &str) -> Option<Option<Duration>> {
    Some(match KeepAlive::from_variable(text)? {
        KeepAlive::For(wait) if !wait.is_zero() => Some(wait),
        KeepAlive::For(_) | KeepAlive::Forever => None,
    })
}

/// Reads a log level: true is debug, and each number up or down one step more or less.
pub(super) fn level(text: &str) -> Level {
    if matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True") {
        return Level::DEBUG;
    }
    match text.parse::<i64>().unwrap_or(0) {
        ..=-2 => Level::ERROR,
        -1 => Level::WARN,
        0 => Level::INFO,
        1 => Level::DEBUG,
        2.. => Level::TRACE,
    }
}

/// Reads a list with commas.
pub(super) fn list(text: &str) -> Vec<String> {
    let entries = text.split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}
