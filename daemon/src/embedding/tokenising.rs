//! How do the inputs of a request become tokens? In pieces, ahead of the model, away from the threads that serve
//! sockets unless that costs more than it saves.

use std::{
    num::NonZero,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use engine::Embedder;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::{sync::Semaphore, task::JoinHandle};

use super::{
    Input,
    reading::{Part, Plan},
};
use crate::{Error, worker::PIECE_TEXTS};

/// Bytes of a piece, unless a single text has more: about a millisecond's work, which is what a request that has no
/// more may take of a thread that serves sockets. Handing it to another thread and back costs a tenth of that.
const PIECE_BYTES: usize = 4 << 10;
/// Pieces of one request that are tokenised at once, or wait to be taken.
const PIECES_AHEAD: usize = 2;

/// Pieces that are tokenised at once for all requests: a core each, or they would get into the way of the models.
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    Arc::new(Semaphore::new(cores))
});

/// An input, and which of its request it is.
type Numbered = (usize, Input);

/// Returns the tokens of inputs, piece by piece and in their order. What is not asked for is not begun.
pub(super) fn tokenise(
    embedder: Arc<Embedder>,
    inputs: Vec<Input>,
    plan: Plan,
) -> impl Stream<Item = Result<Vec<Part>, Error>> {
    let plan = Arc::new(plan);
    let mut inputs = inputs.into_iter().enumerate().peekable();
    let beside = plan.prompt_bytes();
    let first = piece(&mut inputs, beside);
    let is_small = inputs.peek().is_none()
        && first.iter().map(|(_, input)| input.bytes() + beside).sum::<usize>() <= PIECE_BYTES;
    let pieces = std::iter::once(first).chain(std::iter::from_fn(move || {
        Some(piece(&mut inputs, beside)).filter(|piece| !piece.is_empty())
    }));
    let tokens = move |piece| {
        let (embedder, plan) = (Arc::clone(&embedder), Arc::clone(&plan));
        async move {
            if is_small {
                // A tokeniser that panics fails a request, not its connection.
                let all = AssertUnwindSafe(|| all(&embedder, piece, &plan));
                std::panic::catch_unwind(all).unwrap_or_else(|_panic| {
                    Err(Error::Internal("the texts cannot be tokenised".to_owned()))
                })
            } else {
                elsewhere(embedder, piece, plan).await
            }
        }
    };
    stream::iter(pieces).map(tokens).buffered(PIECES_AHEAD)
}

/// Takes the next inputs that travel together, each with so many bytes of a prompt: at least one, if there is one.
fn piece(
    inputs: &mut std::iter::Peekable<impl Iterator<Item = Numbered>>,
    beside: usize,
) -> Vec<Numbered> {
    let mut bytes = 0;
    let mut piece = Vec::new();
    while piece.len() < PIECE_TEXTS
        && let Some(input) = inputs
            .next_if(|next| piece.is_empty() || bytes + next.1.bytes() + beside <= PIECE_BYTES)
    {
        bytes += input.1.bytes() + beside;
        piece.push(input);
    }
    piece
}

/// Tokenises on a thread that may take its time, as soon as one has time.
async fn elsewhere(
    embedder: Arc<Embedder>,
    piece: Vec<Numbered>,
    plan: Arc<Plan>,
) -> Result<Vec<Part>, Error> {
    let tokenising = tokio::spawn(async move {
        let place = Arc::clone(&PLACES).acquire_owned().await;
        let work = move || {
            let tokens = all(&embedder, piece, &plan);
            drop(place);
            tokens
        };
        tokio::task::spawn_blocking(work).await?
    });
    Attached(tokenising).await?
}

fn all(embedder: &Embedder, piece: Vec<Numbered>, plan: &Plan) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::with_capacity(piece.len());
    for (number, input) in piece {
        parts.extend(plan.read(embedder, number, input)?);
    }
    Ok(parts)
}

/// A task that ends when nobody waits for it any more. It is a task of its own so that it goes on while its request
/// does something else: a place that it was given must not lie idle.
struct Attached<T>(JoinHandle<T>);

impl<T> Drop for Attached<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for Attached<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}
