//! How a moment is written in JSON: RFC 3339 in UTC, with as many decimals as it needs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Go's longest duration, which Ollama adds to now for a model that stays forever.
const FOREVER: Duration = Duration::from_nanos(i64::MAX as u64);

/// Returns `2026-08-21T10:11:12.345Z`.
pub(crate) fn rfc3339(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = format!("{:09}", since.subsec_nanos());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}Z")
}

/// Returns the moment when something goes that stays this long from now.
pub(crate) fn expiry(remaining: Option<Duration>) -> SystemTime {
    let now = SystemTime::now();
    now.checked_add(remaining.unwrap_or(FOREVER).min(FOREVER)).unwrap_or(now)
}

/// Returns seconds since 1970.
pub(crate) fn unix(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns the date of a day counted from 1970-01-01, by the era arithmetic of Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        let table = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_735_689_599, 500_000_000, "2024-12-31T23:59:59.5Z"),
            (4_107_542_400, 1, "2100-03-01T00:00:00.000000001Z"),
        ];
        for (seconds, nanos, text) in table {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::new(seconds, nanos)), text);
        }
    }
}
