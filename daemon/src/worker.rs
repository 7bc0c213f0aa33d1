//! Who computes: one thread per loaded model takes what waits, runs it as one batch and answers.

use std::{panic::AssertUnwindSafe, sync::Arc};

use engine::{Embedder, Output, Tokens};
use tokio::sync::{mpsc, oneshot};

use crate::Error;

/// Jobs that may wait at one worker. A request has one piece in here at a time, so this bounds requests.
const QUEUE: usize = 1024;
/// Tokens that one batch takes from the queue; the rest waits for the next. A few packs for every thread: more would
/// only make whoever comes next wait longer.
const BATCH_TOKENS: usize = 2048;
/// Tokens of a request that travel as one piece, unless a single text has more.
pub(crate) const PIECE_TOKENS: usize = 1024;

/// The vectors of a piece, in order; `None` where a vector was not finite.
pub(crate) type Vectors = Vec<Option<Vec<f32>>>;

/// A loaded model and the way to its thread.
pub(crate) struct Worker {
    /// The model, for tokenising on other threads.
    pub(crate) embedder: Arc<Embedder>,
    jobs: mpsc::Sender<Job>,
}

struct Job {
    texts: Vec<Tokens>,
    output: Output,
    answer: oneshot::Sender<Result<Vectors, Error>>,
}

impl Worker {
    /// Starts the thread of a model.
    pub(crate) fn start(embedder: Embedder) -> std::io::Result<Self> {
        let embedder = Arc::new(embedder);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let model = Arc::clone(&embedder);
        std::thread::Builder::new().name("worker".to_owned()).spawn(move || work(&model, queue))?;
        Ok(Self { embedder, jobs })
    }

    /// Says whether the thread has ended, which it does only after a panic.
    pub(crate) fn is_dead(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Embeds one piece. Dropping the future drops the piece, if it still waits.
    pub(crate) async fn embed(&self, texts: Vec<Tokens>, output: Output) -> Result<Vectors, Error> {
        let (answer, result) = oneshot::channel();
        let lost =
            || Error::Internal("the model stopped; the next request loads it again".to_owned());
        self.jobs.send(Job { texts, output, answer }).await.map_err(|_gone| lost())?;
        result.await.map_err(|_gone| lost())?
    }
}

/// Answers jobs until the model is dropped, or until a batch panics: what it left behind is not to be trusted.
fn work(embedder: &Embedder, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let batch = gather(first, &mut queue);
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(embedder, &batch)));
        let Ok(result) = result else {
            tracing::error!("a batch panicked, its model is unloaded");
            return;
        };
        answer(batch, result);
    }
}

/// Takes what waits behind a job, up to the budget, without those whose client has gone.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let tokens = |job: &Job| job.texts.iter().map(|text| text.ids.len()).sum::<usize>();
    let mut sum = tokens(&first);
    let mut batch = vec![first];
    while sum < BATCH_TOKENS {
        let Ok(job) = queue.try_recv() else { break };
        sum += tokens(&job);
        batch.push(job);
    }
    batch.retain(|job| !job.answer.is_closed());
    batch
}

fn run(embedder: &Embedder, batch: &[Job]) -> Result<Vectors, engine::Error> {
    let mut texts = Vec::new();
    for job in batch {
        texts.extend(job.texts.iter().map(|text| (text, job.output)));
    }
    embedder.embed(&texts)
}

fn answer(batch: Vec<Job>, result: Result<Vectors, engine::Error>) {
    let mut result = result.map(Vec::into_iter).map_err(Error::from);
    for job in batch {
        let part = match &mut result {
            Ok(vectors) => Ok(vectors.by_ref().take(job.texts.len()).collect()),
            Err(error) => Err(error.clone()),
        };
        // A client that has gone meanwhile needs no answer.
        drop(job.answer.send(part));
    }
}
