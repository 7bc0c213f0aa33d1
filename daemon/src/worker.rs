//! Who computes: one thread per loaded model takes what waits of all requests, runs it as one batch and answers.

mod desk;
mod flow;
mod queue;

use std::{panic::AssertUnwindSafe, sync::Arc};

use engine::{Embedder, Output, Tokens, Vectors};

use crate::Error;
use desk::{Batch, Desk};
pub(crate) use flow::{Flow, PIECE_TEXTS};

/// What texts became, in their order; `None` where a number was not finite.
pub(crate) type Answers = Vec<Option<Vectors>>;

/// How a batch is computed: with [`Embedder::run`], unless a test has other plans.
pub(crate) type Compute = fn(&Embedder, &[(&Tokens, Output)]) -> Result<Answers, engine::Error>;

/// A loaded model and the way to its thread, which ends when this is dropped.
pub(crate) struct Worker {
    /// The model, for tokenising on other threads.
    pub(crate) embedder: Arc<Embedder>,
    desk: Arc<Desk>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.desk.close();
    }
}

impl Worker {
    /// Starts the thread of a model, at which up to `most_tokens` may wait.
    pub(crate) fn start(
        embedder: Embedder,
        compute: Compute,
        most_tokens: usize,
    ) -> std::io::Result<Self> {
        let embedder = Arc::new(embedder);
        let desk = Arc::new(Desk::new(embedder.batch_tokens(), most_tokens));
        let (model, at) = (Arc::clone(&embedder), Arc::clone(&desk));
        let thread = std::thread::Builder::new().name("worker".to_owned());
        thread.spawn(move || work(&at, &model, compute))?;
        Ok(Self { embedder, desk })
    }

    /// Says whether the thread has ended, which it does only after a panic.
    pub(crate) fn is_dead(&self) -> bool {
        self.desk.is_closed()
    }

    /// Begins a request, whose texts are computed in their order and take turns with those of others.
    pub(crate) fn flow(&self, output: Output) -> Result<Flow, Error> {
        Flow::begin(&self.desk, output)
    }
}

/// Closes the desk however its thread ends: who waits for an answer must learn that none will come.
struct Closing<'a>(&'a Desk);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Answers batches until the model is dropped, or until one panics: what it left behind is not to be trusted.
fn work(desk: &Desk, embedder: &Embedder, compute: Compute) {
    let _closing = Closing(desk);
    while let Some(batch) = desk.take() {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(&batch, embedder, compute)));
        let Ok(result) = result else {
            tracing::error!("a batch panicked, its model is unloaded");
            return;
        };
        desk.answer(&batch, result.map_err(Error::from));
    }
}

fn run(batch: &Batch, embedder: &Embedder, compute: Compute) -> Result<Answers, engine::Error> {
    let texts: Vec<_> = batch.iter().map(|(_, text)| (&text.tokens, text.output)).collect();
    compute(embedder, &texts)
}

#[cfg(test)]
mod tests;
