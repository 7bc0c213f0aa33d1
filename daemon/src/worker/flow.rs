//! What does a request hold of its model's thread? A way in for texts, a way back for vectors, and its place in line.

use std::sync::Arc;

use engine::{Output, Tokens};
use tokio::sync::mpsc;

use super::{
    Answers,
    desk::{Answer, Desk},
};
use crate::Error;

/// Batches that a request may fill ahead: one is computed, and the next must be there when it ends.
const BATCHES_AHEAD: usize = 2;
/// Texts that may come on top of that, in the last piece that a request pushes.
pub(crate) const PIECE_TEXTS: usize = 64;

/// A request at the desk of its model. Dropping it drops those of its texts that still wait.
pub(crate) struct Flow {
    desk: Arc<Desk>,
    number: u64,
    output: Output,
    answers: mpsc::Receiver<Answer>,
    /// Tokens of each text without an answer, in their order.
    unanswered: std::collections::VecDeque<usize>,
    /// The sum of them.
    tokens: usize,
    is_let_in: bool,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.desk.leave(self.number);
    }
}

impl Flow {
    /// Begins a request at a desk.
    pub(super) fn begin(desk: &Arc<Desk>, output: Output) -> Result<Self, Error> {
        // A text has a token at least, so there are never more answers under way.
        let (sender, answers) = mpsc::channel(BATCHES_AHEAD * desk.batch_tokens + PIECE_TEXTS);
        let number = desk.enter(sender).ok_or_else(stopped)?;
        let (unanswered, tokens, is_let_in) = (std::collections::VecDeque::new(), 0, false);
        let desk = Arc::clone(desk);
        Ok(Self { desk, number, output, answers, unanswered, tokens, is_let_in })
    }

    /// Says whether more texts are welcome. A request that was let in may always have some at the desk, so it comes
    /// to its end however many wait there; it works ahead only while the others leave room.
    pub(crate) fn has_room(&self) -> bool {
        self.unanswered.is_empty()
            || self.tokens < BATCHES_AHEAD * self.desk.batch_tokens && self.desk.has_room(0)
    }

    /// Says whether texts wait for their vectors.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Lets up to [`PIECE_TEXTS`] texts wait for their turns. The first ones of a request are refused when the queue
    /// of the model is full.
    pub(crate) fn push(&mut self, texts: Vec<Tokens>) -> Result<(), Error> {
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        if !self.is_let_in && !self.desk.has_room(tokens) {
            return Err(Error::Busy);
        }
        self.is_let_in = true;
        self.tokens += tokens;
        self.unanswered.extend(texts.iter().map(|text| text.ids.len()));
        self.desk.push(self.number, texts, self.output);
        Ok(())
    }

    /// Waits for the vectors of the next texts. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Result<Answers, Error> {
        let vectors = self.answers.recv().await.ok_or_else(stopped)??;
        let answered = self.unanswered.drain(..vectors.len().min(self.unanswered.len()));
        self.tokens -= answered.sum::<usize>();
        Ok(vectors)
    }
}

fn stopped() -> Error {
    Error::Internal("the model stopped; the next request loads it again".to_owned())
}
