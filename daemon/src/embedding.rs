//! How texts become vectors, whatever the dialect that they came in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{Embedder, Output, Overflow, Prompt, Tokens};
use modelfiles::KeepAlive;
use registry::Stored;

use crate::{
    Error,
    app::App,
    residency::Lease,
    worker::{PIECE_TEXTS, Vectors},
};

/// What is to be embedded.
pub(crate) enum Input {
    /// A text.
    Text(String),
    /// Token ids of the model's own vocabulary.
    Ids(Vec<u32>),
}

/// A request for vectors.
pub(crate) struct Request {
    pub(crate) inputs: Vec<Input>,
    pub(crate) overflow: Overflow,
    /// The most tokens of a text, where the request says; negative is as if it did not.
    pub(crate) num_ctx: Option<i64>,
    pub(crate) output: Output,
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// The answer to a request.
pub(crate) struct Embedded {
    /// One vector per input, in order.
    pub(crate) vectors: Vec<Vec<f32>>,
    /// Tokens of each input, and whether it was cut.
    pub(crate) inputs: Vec<(usize, bool)>,
    /// How long the model took to be granted.
    pub(crate) load: Duration,
}

impl Embedded {
    /// Returns the tokens of all inputs, special tokens included.
    pub(crate) fn tokens(&self) -> usize {
        self.inputs.iter().map(|(tokens, _)| tokens).sum()
    }
}

/// Loads the model where it must, and embeds every input.
pub(crate) async fn embed(
    app: &Arc<App>,
    stored: Stored,
    request: Request,
) -> Result<Embedded, Error> {
    let started = Instant::now();
    let (lease, own_num_ctx) = lease(app, stored, request.keep_alive).await?;
    let num_ctx = request.num_ctx.filter(|n| *n >= 0).or(own_num_ctx.filter(|n| *n >= 0));
    let load = started.elapsed();
    if request.inputs.is_empty() {
        return Ok(Embedded { vectors: Vec::new(), inputs: Vec::new(), load });
    }
    let limit = limit(&lease, num_ctx, app.config.context_length, request.overflow)?;
    let tokens = tokenize(&lease, request.inputs, limit, request.overflow).await?;
    let inputs = tokens.iter().map(|tokens| (tokens.ids.len(), tokens.truncated)).collect();
    let vectors = compute(&lease, tokens, request.output).await?;
    Ok(Embedded { vectors, inputs, load })
}

/// Returns a lease on the model and its own `num_ctx`.
async fn lease(
    app: &Arc<App>,
    stored: Stored,
    keep_alive: Option<KeepAlive>,
) -> Result<(Lease, Option<i64>), Error> {
    let name = stored.name.clone();
    let granted = async {
        let wanted = app.blocking(move |app| app.wanted(&stored)).await?;
        let num_ctx = wanted.recipe.num_ctx;
        Ok((app.residency.acquire(wanted, keep_alive).await?, num_ctx))
    };
    match granted.await {
        Err(error @ Error::Internal(_)) => {
            // Files that are gone belong to a model that was removed meanwhile: then this says so.
            app.blocking(move |app| Ok(app.store.find(&name)?)).await?;
            Err(error)
        }
        granted => granted,
    }
}

/// Returns the tokens that a text may have: what the request or the model asks for, within what the model can.
fn limit(
    lease: &Lease,
    num_ctx: Option<i64>,
    default: Option<usize>,
    overflow: Overflow,
) -> Result<usize, Error> {
    let wanted = num_ctx.map(|n| usize::try_from(n).unwrap_or(usize::MAX)).or(default);
    match (wanted, overflow) {
        (Some(0), Overflow::Truncate) => Err(Error::BadRequest(
            "input exceeds maximum context length and cannot be truncated further".to_owned(),
        )),
        (Some(0), Overflow::Refuse) => {
            Err(Error::BadRequest("the input length exceeds the context length".to_owned()))
        }
        _ => Ok(lease.embedder.limit(wanted)),
    }
}

/// Tokenises on a thread that may take its time.
async fn tokenize(
    lease: &Lease,
    inputs: Vec<Input>,
    limit: usize,
    overflow: Overflow,
) -> Result<Vec<Tokens>, Error> {
    let embedder = Arc::clone(&lease.embedder);
    let one = move |embedder: &Embedder, input| match input {
        Input::Text(text) => embedder.tokenize(&text, Prompt::Default, limit, overflow),
        Input::Ids(ids) => embedder.adopt(ids, limit, overflow),
    };
    let all =
        move || inputs.into_iter().map(|input| one(&embedder, input)).collect::<Result<_, _>>();
    Ok(tokio::task::spawn_blocking(all).await??)
}

/// Sends piece after piece to the worker, so that requests beside this one get their turns.
async fn compute(
    lease: &Lease,
    mut tokens: Vec<Tokens>,
    output: Output,
) -> Result<Vec<Vec<f32>>, Error> {
    let mut vectors = Vec::with_capacity(tokens.len());
    while !tokens.is_empty() {
        let rest = tokens.split_off(tokens.len().min(PIECE_TEXTS));
        let piece: Vectors = lease.embed(std::mem::replace(&mut tokens, rest), output).await?;
        for vector in piece {
            let index = vectors.len();
            vectors.push(vector.ok_or_else(|| {
                Error::Internal(format!(
                    "the embedding of input {index} contains NaN or Inf values"
                ))
            })?);
        }
    }
    Ok(vectors)
}
