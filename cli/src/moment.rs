//! When something was or will be, read from RFC 3339 and told relative to now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modelfiles::human;

/// What Go clients and servers send for a time that is not set.
const UNSET: i64 = -62_135_596_800;

/// Tells a time of the service relative to now: `2 days ago`, `Never`.
pub(crate) fn relative(text: &str, now: SystemTime) -> String {
    match parse(text) {
        Some(UNSET) => human::relative(None, now),
        Some(seconds) => human::relative(time(seconds), now),
        None => text.to_owned(),
    }
}

/// Says whether a time of the service has gone by.
pub(crate) fn is_past(text: &str, now: SystemTime) -> bool {
    parse(text).and_then(time).is_some_and(|time| time < now)
}

fn time(seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

/// Reads `2026-08-21T18:11:51.123+02:00` as seconds since 1970, without the fraction.
fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let (year, month, day) = three(date, '-')?;
    let (clock, offset) = split_offset(rest)?;
    let (hour, minute, second) = three(clock.split('.').next()?, ':')?;
    let valid = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    valid.then_some(seconds - offset)
}

/// Splits `18:11:51Z` or `18:11:51-05:00` into the clock and its offset in seconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let seconds = digits(hours)? * 3_600 + digits(minutes)? * 60;
    Some((&text[..at], if text[at..].starts_with('-') { -seconds } else { seconds }))
}

fn three(text: &str, separator: char) -> Option<(i64, i64, i64)> {
    let mut parts = text.splitn(3, separator).map(digits);
    Some((parts.next()??, parts.next()??, parts.next()??))
}

fn digits(text: &str) -> Option<i64> {
    let plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Counts days in the Gregorian calendar; years begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719 468 days lie between 1 March of year 0 and 1 January 1970.
    year * 365 + leaps + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_send() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-08-21T18:11:51.123456789+02:00", Some(1_787_328_711)),
            ("2026-08-21T11:11:51-05:00", Some(1_787_328_711)),
            ("2319-03-02T18:11:51Z", Some(11_018_571_111)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("2026-13-01T00:00:00Z", None),
            ("2026-08-21", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn tells_times_relative_to_now() {
        let now = time(1_787_328_711).expect("time");
        for (text, want) in [
            ("2026-08-20T16:11:51Z", "24 hours ago"),
            ("2026-08-21T18:16:50.5+02:00", "4 minutes from now"),
            ("2319-03-02T18:11:51Z", "Forever"),
            ("0001-01-01T00:00:00Z", "Never"),
            ("soon", "soon"),
        ] {
            assert_eq!(relative(text, now), want, "{text}");
        }
        assert!(is_past("2026-08-21T16:11:50Z", now));
        assert!(!is_past("2026-08-21T16:11:52Z", now));
    }
}
