//! Where do requests and the thread of a model meet? Texts wait here, and answers find their way back.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use engine::{Output, Tokens};
use tokio::sync::mpsc;

use super::{
    Answers,
    queue::{self, Queue},
};
use crate::Error;

/// A text that waits.
pub(super) struct Text {
    pub(super) tokens: Tokens,
    pub(super) output: Output,
}

/// Texts that are computed together, each with the number of its flow.
pub(super) type Batch = queue::Batch<Text>;

/// The vectors of a flow's next texts.
pub(super) type Answer = Result<Answers, Error>;

/// The place of a model where requests leave texts and its thread takes them.
pub(super) struct Desk {
    state: Mutex<State>,
    /// Told when texts come while none wait, and when the desk closes.
    ready: Condvar,
    /// Tokens of one batch.
    pub(super) batch_tokens: usize,
    /// Tokens that may wait.
    most_tokens: usize,
}

struct State {
    queue: Queue<Text>,
    /// Where the answers of each flow go, as long as it has not left.
    answers: HashMap<u64, mpsc::Sender<Answer>>,
    /// Counts flows, for their numbers.
    flows: u64,
    is_closed: bool,
}

impl Desk {
    /// Opens a desk for batches of so many tokens, at which so many may wait.
    pub(super) fn new(batch_tokens: usize, most_tokens: usize) -> Self {
        let state =
            State { queue: Queue::default(), answers: HashMap::new(), flows: 0, is_closed: false };
        Self { state: Mutex::new(state), ready: Condvar::new(), batch_tokens, most_tokens }
    }

    /// Lets no text in any more, and drops those that wait: their requests learn that no answer comes.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.queue = Queue::default();
        state.answers.clear();
        drop(state);
        self.ready.notify_all();
    }

    /// Says whether no text is let in any more.
    pub(super) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Gives a flow its number, unless the desk is closed.
    pub(super) fn enter(&self, answers: mpsc::Sender<Answer>) -> Option<u64> {
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        state.flows += 1;
        let number = state.flows;
        state.answers.insert(number, answers);
        Some(number)
    }

    /// Drops what waits of a flow; nobody wants its answers.
    pub(super) fn leave(&self, flow: u64) {
        let mut state = self.state();
        state.queue.leave(flow);
        state.answers.remove(&flow);
    }

    /// Says whether so many more tokens may wait.
    pub(super) fn has_room(&self, tokens: usize) -> bool {
        self.state().queue.has_room(tokens, self.most_tokens)
    }

    /// Appends texts to a flow.
    pub(super) fn push(&self, flow: u64, texts: Vec<Tokens>, output: Output) {
        let mut state = self.state();
        if state.is_closed {
            return;
        }
        let idle = state.queue.is_empty();
        for tokens in texts {
            state.queue.push(flow, tokens.ids.len(), Text { tokens, output });
        }
        drop(state);
        if idle {
            self.ready.notify_one();
        }
    }

    /// Waits for texts and takes a batch of them; none when the desk is closed.
    pub(super) fn take(&self) -> Option<Batch> {
        let waits = |state: &mut State| state.queue.is_empty() && !state.is_closed;
        let state = self.ready.wait_while(self.state(), waits);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        (!state.is_closed).then(|| state.queue.take(self.batch_tokens))
    }

    /// Gives each flow of a batch its vectors, or all of them the reason why there are none.
    pub(super) fn answer(&self, batch: &Batch, result: Answer) {
        let mut shares: HashMap<u64, Answer> = HashMap::new();
        let mut result = result.map(Vec::into_iter);
        for (flow, _) in batch {
            let share = shares.entry(*flow).or_insert_with(|| Ok(Answers::new()));
            match (&mut result, share) {
                (Ok(vectors), Ok(share)) => share.extend(vectors.next()),
                (Err(error), share) => *share = Err(error.clone()),
                (Ok(_), Err(_)) => {}
            }
        }
        let mut state = self.state();
        for (flow, share) in shares {
            let sent = state.answers.get(&flow).map(|answers| answers.try_send(share));
            // A flow takes fewer texts ahead than its channel holds answers; should it ever not, it ends with an
            // error.
            if sent.is_some_and(|sent| sent.is_err()) {
                state.answers.remove(&flow);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
