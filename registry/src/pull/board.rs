//! How far is a pull? A board that the pull writes and any number of listeners read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelfiles::Digest;
use tokio::sync::watch;

use crate::error::Error;
use crate::store::Stored;

/// A blob's progress is told at most this often.
const INTERVAL: Duration = Duration::from_millis(60);

/// One line of progress; a later line with the same digest or status replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is going on, in the words of Ollama's protocol.
    pub status: String,
    /// The blob that is fetched.
    pub digest: Option<Digest>,
    /// The size in bytes, where it is known.
    pub total: Option<u64>,
    /// The bytes that are here.
    pub completed: Option<u64>,
}

/// Everything that a pull has said, each line in its newest form.
#[derive(Default)]
pub(super) struct Board {
    version: u64,
    lines: Vec<(u64, Progress)>,
    pub(super) outcome: Option<Result<Option<Stored>, Arc<Error>>>,
}

impl Board {
    /// Returns the lines that are newer than a version, in the order of their change.
    pub(super) fn since(&self, version: u64) -> (Vec<Progress>, u64) {
        let mut newer: Vec<_> =
            self.lines.iter().filter(|(changed, _)| *changed > version).collect();
        newer.sort_by_key(|(changed, _)| *changed);
        (newer.into_iter().map(|(_, line)| line.clone()).collect(), self.version)
    }

    fn put(&mut self, line: Progress) {
        self.version += 1;
        let same = |other: &Progress| match line.digest {
            Some(_) => other.digest == line.digest,
            None => other.digest.is_none() && other.status == line.status,
        };
        self.lines.retain(|(_, other)| !same(other));
        self.lines.push((self.version, line));
    }
}

/// The pull's side of the board.
#[derive(Clone)]
pub(crate) struct Feed(Arc<watch::Sender<Board>>);

impl Feed {
    pub(super) fn new(sender: watch::Sender<Board>) -> Self {
        Self(Arc::new(sender))
    }

    /// Says what is going on.
    pub(crate) fn status(&self, status: &str) {
        let status = status.to_owned();
        self.put(Progress { status, digest: None, total: None, completed: None });
    }

    /// Returns a meter for one file.
    pub(crate) fn meter(&self, status: &str, digest: Option<Digest>, total: Option<u64>) -> Meter {
        let line = Progress { status: status.to_owned(), digest, total, completed: None };
        Meter { feed: self.clone(), line, last: Instant::now() }
    }

    /// Tells how much of a file is here.
    pub(super) fn file(&self, status: &str, digest: Option<Digest>, total: Option<u64>, here: u64) {
        self.put(Progress { status: status.to_owned(), digest, total, completed: Some(here) });
    }

    pub(super) fn land(&self, outcome: Result<Option<Stored>, Error>) {
        self.0.send_modify(|board| board.outcome = Some(outcome.map_err(Arc::new)));
    }

    fn put(&self, line: Progress) {
        self.0.send_modify(|board| board.put(line));
    }
}

/// The progress of one file.
#[derive(Clone)]
pub(crate) struct Meter {
    feed: Feed,
    line: Progress,
    last: Instant,
}

impl Meter {
    /// Sets the size that is expected.
    pub(crate) fn total(&mut self, total: Option<u64>) {
        self.line.total = total;
    }

    /// Tells the bytes that are here, unless that was told a moment ago.
    ///
    /// What was told is never taken back, also when a file has to be fetched anew.
    pub(crate) fn at(&mut self, completed: u64) {
        self.line.completed = self.line.completed.max(Some(completed));
        if self.last.elapsed() >= INTERVAL {
            self.last = Instant::now();
            self.feed.put(self.line.clone());
        }
    }

    /// Tells that the file is complete.
    pub(crate) fn done(&mut self, size: u64) {
        (self.line.total, self.line.completed) = (Some(size), Some(size));
        self.feed.put(self.line.clone());
    }

    /// Says something about the file that is no number.
    pub(crate) fn say(&self, status: &str) {
        self.feed.status(status);
    }

    /// Tells whether nobody listens any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.feed.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::digest_of;

    #[test]
    fn each_line_is_told_once_and_in_its_newest_form() {
        let (sender, receiver) = watch::channel(Board::default());
        let feed = Feed::new(sender);
        let told = |version| {
            let (lines, version) = receiver.borrow().since(version);
            let lines: Vec<_> =
                lines.into_iter().map(|line| (line.status, line.completed)).collect();
            (lines, version)
        };
        feed.status("a");
        let mut meter = feed.meter("b", Some(digest_of(b"")), Some(9));
        meter.at(1);
        let (lines, version) = told(0);
        assert_eq!(lines, [("a".to_owned(), None)], "an early report is not worth a line");
        meter.done(9);
        meter.done(9);
        feed.status("c");
        assert_eq!(told(version).0, [("b".to_owned(), Some(9)), ("c".to_owned(), None)]);
        assert_eq!(told(0).0.len(), 3);
    }
}
