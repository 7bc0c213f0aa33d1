//! Who waits for a pull? All listeners of one name share one task, which ends with the last of them.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::board::{Board, Feed, Progress};
use crate::error::{Error, Result};
use crate::store::Stored;

/// A pull that is under way.
pub(super) struct Flight {
    board: watch::Receiver<Board>,
    task: JoinHandle<()>,
}

impl Flight {
    /// Starts the work of a pull.
    pub(super) fn start<F>(work: impl FnOnce(Feed) -> F) -> Arc<Self>
    where
        F: Future<Output = Result<Option<Stored>>> + Send + 'static,
    {
        let (sender, board) = watch::channel(Board::default());
        let feed = Feed::new(sender);
        let work = work(feed.clone());
        let task = tokio::spawn(async move { feed.land(work.await) });
        Arc::new(Self { board, task })
    }

    pub(super) fn has_landed(&self) -> bool {
        self.task.is_finished() || self.board.borrow().outcome.is_some()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener of a pull. Dropping the last one cancels the pull; what was fetched can be resumed.
pub struct Pulling {
    board: watch::Receiver<Board>,
    seen: u64,
    ready: VecDeque<Progress>,
    /// Keeps the pull alive.
    flight: Arc<Flight>,
}

impl Pulling {
    pub(super) fn of(flight: Arc<Flight>) -> Self {
        Self { board: flight.board.clone(), seen: 0, ready: VecDeque::new(), flight }
    }

    /// Returns the next line of progress; `None` when the pull has ended and `finish` tells how.
    pub async fn next(&mut self) -> Option<Progress> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            let has_landed = self.look();
            if self.ready.is_empty() && (has_landed || self.board.changed().await.is_err()) {
                return None;
            }
        }
    }

    /// Waits for the end of the pull, which has a model unless it was a dry run.
    pub async fn finish(mut self) -> Result<Option<Stored>, Arc<Error>> {
        while self.next().await.is_some() {}
        let outcome = self.flight.board.borrow().outcome.clone();
        outcome.unwrap_or_else(|| Err(Arc::new(Error::Cancelled)))
    }

    /// Takes over the new lines, and tells whether they are the last.
    fn look(&mut self) -> bool {
        let board = self.board.borrow_and_update();
        let (lines, version) = board.since(self.seen);
        self.seen = version;
        self.ready.extend(lines);
        board.outcome.is_some()
    }
}
