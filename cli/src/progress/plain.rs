//! Which lines a log gets, so that it tells the story and stays short.

use std::collections::HashMap;

use modelfiles::human;

use super::{Sized, sized};
use crate::client::Event;

/// Smaller blobs get a line at their start and their end only.
const BIG_BYTES: u64 = 10_000_000;

/// How often a big blob gets a line.
const STEP_PERCENT: u64 = 10;

/// What has been written already.
#[derive(Default)]
pub(crate) struct Plain {
    last_status: String,
    next_percent: HashMap<String, u64>,
}

impl Plain {
    /// Returns the line that the event is worth, if any.
    pub(crate) fn line(&mut self, event: &Event) -> Option<String> {
        match sized(event) {
            Some(sized) => self.blob(&event.status, &sized),
            None if event.status.is_empty() || event.status == self.last_status => None,
            None => {
                self.last_status.clone_from(&event.status);
                Some(event.status.clone())
            }
        }
    }

    fn blob(&mut self, status: &str, sized: &Sized<'_>) -> Option<String> {
        let percent = percent(sized.completed, sized.total);
        let next = self.next_percent.entry(sized.key.to_owned()).or_default();
        if percent < *next {
            return None;
        }
        *next = if percent == 100 {
            101
        } else if sized.total < BIG_BYTES {
            100
        } else {
            (percent / STEP_PERCENT + 1) * STEP_PERCENT
        };
        let (done, total) = (human::bytes(sized.completed), human::bytes(sized.total));
        Some(match percent {
            100 => format!("{status}: 100% ({total})"),
            _ => format!("{status}: {percent}% ({done} of {total})"),
        })
    }
}

fn percent(completed: u64, total: u64) -> u64 {
    u64::try_from(u128::from(completed) * 100 / u128::from(total)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(digest: Option<&str>, status: &str, completed: u64, total: u64) -> Event {
        let mut event = Event::new(status);
        event.digest = digest.map(str::to_owned);
        event.completed = Some(completed);
        event.total = Some(total);
        event
    }

    fn lines(events: &[Event]) -> Vec<String> {
        let mut plain = Plain::default();
        events.iter().filter_map(|event| plain.line(event)).collect()
    }

    #[test]
    fn each_status_is_written_once() {
        let events = ["pulling manifest", "pulling manifest", "", "success"].map(Event::new);
        assert_eq!(lines(&events), ["pulling manifest", "success"]);
    }

    #[test]
    fn a_small_blob_gets_two_lines() {
        let at = |completed| event(Some("sha256:ab"), "pulling ab", completed, 2_000_000);
        let events = [at(0), at(500_000), at(1_999_999), at(2_000_000), at(2_000_000)];
        let want = ["pulling ab: 0% (0 B of 2 MB)", "pulling ab: 100% (2 MB)"];
        assert_eq!(lines(&events), want);
    }

    #[test]
    fn a_present_blob_gets_one_line() {
        let there = event(Some("sha256:ab"), "pulling ab", 90, 90);
        assert_eq!(lines(&[there.clone(), there]), ["pulling ab: 100% (90 B)"]);
    }

    #[test]
    fn a_big_download_without_a_digest_gets_a_line_for_every_tenth() {
        let at = |percent: u64| event(None, "fetching wheel", percent * 1_000_000, 100_000_000);
        let got = lines(&(0..=100).map(at).collect::<Vec<_>>());
        assert_eq!(got.len(), 11);
        assert_eq!(got[4], "fetching wheel: 40% (40 MB of 100 MB)");
        assert_eq!(got[10], "fetching wheel: 100% (100 MB)");
    }

    #[test]
    fn a_resumed_download_starts_where_it_stands() {
        let at = |completed| event(Some("sha256:ab"), "pulling ab", completed, 100_000_000);
        let got = lines(&[at(57_000_000), at(58_000_000), at(61_000_000)]);
        assert_eq!(got.len(), 2);
        assert_eq!(got[1], "pulling ab: 61% (61 MB of 100 MB)");
    }
}
