//! How long does a model stay in memory? Go's durations and what `keep_alive` makes of them.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// Units in nanoseconds; the micro sign and the Greek letter mu are two characters.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];
const SECOND: u64 = 1_000_000_000;
/// Go's durations are 64-bit nanoseconds; this is the largest magnitude, reached by negative ones
/// only.
const MAX: u64 = 1 << 63;

/// Says why a text is no duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// The text does not follow the grammar, or is too large.
    #[error("time: invalid duration {}", quoted(.0))]
    Invalid(String),
    /// A number has no unit.
    #[error("time: missing unit in duration {}", quoted(.0))]
    MissingUnit(String),
    /// A number has a unit that does not exist.
    #[error("time: unknown unit {} in duration {}", quoted(unit), quoted(text))]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Parses a Go duration such as `1.5h`, `2h45m`, `-1m` or `0` and returns nanoseconds.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (span, after) = term(rest, text)?;
        total = total.checked_add(span).filter(|total| *total <= MAX).ok_or_else(invalid)?;
        rest = after;
    }
    match (negative, i64::try_from(total)) {
        (true, _) => Ok(0_i64.wrapping_sub_unsigned(total)),
        (false, Ok(total)) => Ok(total),
        (false, Err(_)) => Err(invalid()),
    }
}

/// Reads one number with its unit and returns its nanoseconds and what follows.
fn term<'a>(rest: &'a str, text: &str) -> Result<(u64, &'a str), DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (whole, after) = digits(rest);
    let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let number = if whole.is_empty() { 0 } else { whole.parse().map_err(|_overflow| invalid())? };
    let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
    let (unit, after) = after.split_at(end);
    if unit.is_empty() {
        return Err(DurationError::MissingUnit(text.to_owned()));
    }
    let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
    };
    let span = size.checked_mul(number).filter(|span| *span <= MAX).ok_or_else(invalid)?;
    Ok((span + part(fraction, *size), after))
}

/// Returns the nanoseconds of the digits behind the point, with Go's floating-point rounding.
fn part(fraction: &str, size: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1.0);
    for byte in fraction.bytes() {
        let Some(next) = value.checked_mul(10).filter(|next| *next < MAX - 10) else { break };
        value = next + u64::from(byte - b'0');
        scale *= 10.0;
    }
    (value as f64 * (size as f64 / scale)) as u64
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Quotes as Go's time package does, which is not how the rest of Go does it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..0x80 => out.push(char::from(byte)),
            _ => out.extend(format!("\\x{byte:02x}").chars()),
        }
    }
    out.push('"');
    out
}

/// How long a model stays in memory after its last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// This long; zero means that it leaves as soon as it is idle.
    For(Duration),
    /// Until it is stopped.
    Forever,
}

impl KeepAlive {
    /// Parses a Go duration, the form of a JSON string; a negative one means forever.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        parse(text).map(Self::from_nanoseconds)
    }

    /// Takes seconds, the form of a JSON number; negative ones, and more than Go can count, mean
    /// forever.
    pub fn from_seconds(seconds: f64) -> Self {
        match Duration::try_from_secs_f64(seconds.max(0.0)) {
            Ok(span) if seconds >= 0.0 && span.as_nanos() < u128::from(MAX) => Self::For(span),
            _ => Self::Forever,
        }
    }

    /// Parses the value of `OLLAMA_KEEP_ALIVE`: a Go duration or whole seconds; `None` when it is
    /// neither.
    pub fn from_variable(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(keep_alive) = Self::parse(text) {
            return Some(keep_alive);
        }
        let seconds: i64 = text.parse().ok()?;
        Some(
            u64::try_from(seconds)
                .map_or(Self::Forever, |seconds| Self::For(Duration::from_secs(seconds))),
        )
    }

    fn from_nanoseconds(nanoseconds: i64) -> Self {
        u64::try_from(nanoseconds)
            .map_or(Self::Forever, |span| Self::For(Duration::from_nanos(span)))
    }
}

impl fmt::Display for KeepAlive {
    /// Writes Go's form, `5m0s`, or `-1` for ever.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => out.write_str("-1"),
            Self::For(span) if span.as_secs() == 0 => write_short(out, span.subsec_nanos()),
            Self::For(span) => write_long(out, *span),
        }
    }
}

fn write_short(out: &mut fmt::Formatter<'_>, nanoseconds: u32) -> fmt::Result {
    match nanoseconds {
        0 => out.write_str("0s"),
        1..1_000 => write!(out, "{nanoseconds}ns"),
        1_000..1_000_000 => write!(out, "{}µs", f64::from(nanoseconds) / 1e3),
        _ => write!(out, "{}ms", f64::from(nanoseconds) / 1e6),
    }
}

fn write_long(out: &mut fmt::Formatter<'_>, span: Duration) -> fmt::Result {
    let (hours, minutes, seconds) =
        (span.as_secs() / 3600, span.as_secs() / 60 % 60, span.as_secs() % 60);
    if hours > 0 {
        write!(out, "{hours}h")?;
    }
    if hours > 0 || minutes > 0 {
        write!(out, "{minutes}m")?;
    }
    match span.subsec_nanos() {
        0 => write!(out, "{seconds}s"),
        rest => write!(out, "{seconds}.{}s", format!("{rest:09}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> KeepAlive {
        KeepAlive::For(Duration::from_secs(seconds))
    }

    #[test]
    fn durations() {
        let rows = [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("300ms", 300_000_000),
            ("1.5h", 5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("1h2m3s", 3_723_000_000_000),
            ("-1m", -60_000_000_000),
            ("+5s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("1.0000000000000000000000001ns", 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn duration_errors() {
        let rows = [
            ("60", "time: missing unit in duration \"60\""),
            ("-1", "time: missing unit in duration \"-1\""),
            ("1h30", "time: missing unit in duration \"1h30\""),
            ("5 m", "time: unknown unit \" m\" in duration \"5 m\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("1é", "time: unknown unit \"\\xc3\\xa9\" in duration \"1\\xc3\\xa9\""),
            ("3000000h", "time: invalid duration \"3000000h\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            ("99999999999999999999h", "time: invalid duration \"99999999999999999999h\""),
            ("abc", "time: invalid duration \"abc\""),
            ("???", "time: invalid duration \"???\""),
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            (".s", "time: invalid duration \".s\""),
            (" 5m", "time: invalid duration \" 5m\""),
            ("a\"b\\", "time: invalid duration \"a\\\"b\\\\\""),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn keep_alive_of_json() {
        assert_eq!(KeepAlive::parse("42m"), Ok(seconds(2520)));
        assert_eq!(KeepAlive::parse("0"), Ok(seconds(0)));
        assert_eq!(KeepAlive::parse("-1m"), Ok(KeepAlive::Forever));
        assert_eq!(KeepAlive::from_seconds(42.0), seconds(42));
        assert_eq!(KeepAlive::from_seconds(42.5), KeepAlive::For(Duration::from_millis(42_500)));
        for zero in [0.0, -0.0] {
            assert_eq!(KeepAlive::from_seconds(zero), seconds(0));
        }
        for forever in [-1.0, -3.5, 1e10, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert_eq!(KeepAlive::from_seconds(forever), KeepAlive::Forever, "{forever}");
        }
    }

    #[test]
    fn keep_alive_of_the_variable() {
        let rows = [
            ("1h2m3s", Some(seconds(3723))),
            ("0", Some(seconds(0))),
            ("60", Some(seconds(60))),
            (" 60 ", Some(seconds(60))),
            ("-0", Some(seconds(0))),
            ("-1", Some(KeepAlive::Forever)),
            ("-1m", Some(KeepAlive::Forever)),
            (" ", None),
            ("", None),
            ("???", None),
            ("1d", None),
            ("1y", None),
            ("1w", None),
        ];
        for (text, expected) in rows {
            assert_eq!(KeepAlive::from_variable(text), expected, "{text:?}");
        }
    }

    #[test]
    fn display() {
        let rows = [
            ("0", "0s"),
            ("10s", "10s"),
            ("5m", "5m0s"),
            ("90m", "1h30m0s"),
            ("1h2m3.5s", "1h2m3.5s"),
            ("300ms", "300ms"),
            ("1500us", "1.5ms"),
            ("7us", "7µs"),
            ("3ns", "3ns"),
            ("-5m", "-1"),
        ];
        for (text, expected) in rows {
            assert_eq!(KeepAlive::parse(text).unwrap().to_string(), expected);
        }
    }
}
