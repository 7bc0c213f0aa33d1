//! How do people read sizes, counts, times and odd texts? Ollama's forms, byte for byte.

use std::time::{Duration, SystemTime};

const BYTE_UNITS: [(u64, &str); 4] =
    [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")];
const BINARY_UNITS: [(u64, &str); 4] =
    [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// Returns a size in decimal units: `45 MB`, `1.2 MB`, `1 KB`.
pub fn bytes(size: u64) -> String {
    let Some((unit, suffix)) = unit(size, &BYTE_UNITS) else { return format!("{size} B") };
    if size >= 10 * unit || size.is_multiple_of(unit) {
        return format!("{} {suffix}", size / unit);
    }
    format!("{:.1} {suffix}", ratio(size, unit))
}

/// Returns a size in binary units with one decimal: `1.5 GiB`.
pub fn binary_bytes(size: u64) -> String {
    match unit(size, &BINARY_UNITS) {
        Some((unit, suffix)) => format!("{:.1} {suffix}", ratio(size, unit)),
        None => format!("{size} B"),
    }
}

/// Returns a count with a short suffix: `33K`, `22.57M`, `2.9B`.
pub fn number(count: u64) -> String {
    const BILLION: u64 = 1_000_000_000;
    const MILLION: u64 = 1_000_000;
    const THOUSAND: u64 = 1_000;
    match count {
        BILLION.. if count.is_multiple_of(BILLION) => format!("{}B", count / BILLION),
        BILLION.. => format!("{:.1}B", ratio(count, BILLION)),
        MILLION.. if count.is_multiple_of(MILLION) => format!("{}M", count / MILLION),
        MILLION.. => format!("{:.2}M", ratio(count, MILLION)),
        THOUSAND.. => format!("{:.0}K", ratio(count, THOUSAND)),
        _ => count.to_string(),
    }
}

/// Returns a span of time in words: `About a minute`, `24 hours`, `2 weeks`.
pub fn duration(span: Duration) -> String {
    const DAY: u64 = 24;
    let seconds = span.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        _ if hours < 14 * DAY => format!("{} days", hours / DAY),
        _ if hours < 60 * DAY => format!("{} weeks", hours / DAY / 7),
        _ if hours < 730 * DAY => format!("{} months", hours / DAY / 30),
        _ => format!("{} years", seconds / 3600 / DAY / 365),
    }
}

/// Returns when something was, or will be for negative seconds: `2 days ago`, `4 minutes from now`,
/// `Forever`.
pub fn ago(seconds: i64) -> String {
    let span = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { until(span) } else { format!("{} ago", duration(span)) }
}

/// Returns when a time is as seen from another; `Never` for none.
pub fn relative(time: Option<SystemTime>, now: SystemTime) -> String {
    let Some(time) = time else { return "Never".to_owned() };
    match now.duration_since(time) {
        Ok(past) if !past.is_zero() => format!("{} ago", duration(past)),
        Ok(present) => until(present),
        Err(future) => until(future.duration()),
    }
}

/// Returns a text in double quotes with Go's escapes, the form in which Ollama's errors name a
/// thing.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if is_hidden(c) => out.push_str(&escaped(u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn escaped(code: u32) -> String {
    match code {
        0..0x80 => format!("\\x{code:02x}"),
        0x80..0x1_0000 => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    }
}

/// Returns whether a character has no visible form; it stands behind a letter here because marks
/// need one.
fn is_hidden(c: char) -> bool {
    let text: String = ['a', c].into_iter().collect();
    c != '\'' && text.escape_debug().nth(1) == Some('\\')
}

fn until(span: Duration) -> String {
    const YEAR_SECONDS: u64 = 365 * 24 * 3600;
    if span.as_secs() / YEAR_SECONDS > 20 {
        return "Forever".to_owned();
    }
    format!("{} from now", duration(span))
}

fn unit(size: u64, units: &[(u64, &'static str)]) -> Option<(u64, &'static str)> {
    units.iter().copied().find(|(unit, _)| size >= *unit)
}

fn ratio(count: u64, unit: u64) -> f64 {
    count as f64 / unit as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let rows = [
            (0, "0 B"),
            (1, "1 B"),
            (999, "999 B"),
            (1000, "1 KB"),
            (1024, "1.0 KB"),
            (1500, "1.5 KB"),
            (9_999, "10.0 KB"),
            (10_500, "10 KB"),
            (999_999, "999 KB"),
            (1_000_000, "1 MB"),
            (1_234_567, "1.2 MB"),
            (45_949_365, "45 MB"),
            (1_000_000_000, "1 GB"),
            (1_500_000_000, "1.5 GB"),
            (1_000_000_000_000, "1 TB"),
            (1_999_999_999_999, "2.0 TB"),
        ];
        for (size, text) in rows {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn binary_sizes() {
        for (size, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB")]
        {
            assert_eq!(binary_bytes(size), text);
        }
    }

    #[test]
    fn numbers() {
        let rows = [
            (0, "0"),
            (999, "999"),
            (1000, "1K"),
            (1001, "1K"),
            (33_280, "33K"),
            (1_000_000, "1M"),
            (22_566_912, "22.57M"),
            (125_000_000, "125M"),
            (500_500_000, "500.50M"),
            (500_550_000, "500.55M"),
            (7_000_000_000, "7B"),
            (2_850_000_000, "2.9B"),
            (1_000_000_000_000, "1000B"),
        ];
        for (count, text) in rows {
            assert_eq!(number(count), text);
        }
    }

    #[test]
    fn spans() {
        const HOUR: u64 = 3600;
        let rows = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60 + 59, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 1799, "About an hour"),
            (HOUR + 1800, "2 hours"),
            (24 * HOUR, "24 hours"),
            (48 * HOUR - 1801, "47 hours"),
            (48 * HOUR, "2 days"),
            (13 * 24 * HOUR, "13 days"),
            (14 * 24 * HOUR, "2 weeks"),
            (59 * 24 * HOUR, "8 weeks"),
            (60 * 24 * HOUR, "2 months"),
            (729 * 24 * HOUR, "24 months"),
            (730 * 24 * HOUR, "2 years"),
        ];
        for (seconds, text) in rows {
            assert_eq!(duration(Duration::from_secs(seconds)), text, "{seconds} s");
        }
    }

    #[test]
    fn times() {
        assert_eq!(ago(24 * 3600), "24 hours ago");
        assert_eq!(ago(48 * 3600), "2 days ago");
        assert_eq!(ago(-290), "4 minutes from now");
        assert_eq!(ago(-200 * 365 * 24 * 3600), "Forever");
        assert_eq!(ago(-20 * 365 * 24 * 3600), "20 years from now");
        assert_eq!(ago(i64::MIN), "Forever");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(
            relative(Some(now + Duration::from_millis(800)), now),
            "Less than a second from now"
        );
        assert_eq!(relative(Some(now - Duration::from_millis(800)), now), "Less than a second ago");
        assert_eq!(relative(None, now), "Never");
    }

    #[test]
    fn quotes() {
        let rows = [
            ("nope", "\"nope\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("a'b", "\"a'b\""),
            ("\n\t\u{7}\u{1}\u{7f}", "\"\\n\\t\\a\\x01\\x7f\""),
            ("é日🙂", "\"é日🙂\""),
            ("\u{200b}\u{85}", "\"\\u200b\\u0085\""),
            ("e\u{301}", "\"e\u{301}\""),
        ];
        for (text, expected) in rows {
            assert_eq!(quoted(text), expected);
        }
    }
}
