//! How texts become vectors, whatever the dialect that they came in.

mod tokenising;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{Embedder, Output, Overflow, Scoring};
use futures_util::StreamExt as _;
use modelfiles::KeepAlive;

use crate::{Error, app::App, catalog::Model, residency::Lease};
use tokenising::{Cut, tokenise};

/// Inputs of a request: beyond this the answer alone would fill the memory.
const MOST_INPUTS: usize = 1 << 18;

/// What is to be embedded.
pub(crate) enum Input {
    /// A text.
    Text(String),
    /// Token ids of the model's own vocabulary.
    Ids(Vec<u32>),
    /// A query and a document, for a reranker.
    Pair(Arc<str>, String),
}

impl Input {
    /// Returns how much there is to tokenise.
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ids(ids) => size_of_val(ids.as_slice()),
            Self::Pair(query, document) => query.len() + document.len(),
        }
    }
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

/// What there is to tell of a request beside its vectors.
pub(crate) struct Embedded {
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

    /// Returns what we tell of each input, as JSON: its tokens and whether it was cut.
    pub(crate) fn told(&self) -> String {
        let told = |(tokens, truncated): &(usize, bool)| {
            format!(r#"{{"tokens":{tokens},"truncated":{truncated}}}"#)
        };
        format!("[{}]", self.inputs.iter().map(told).collect::<Vec<_>>().join(","))
    }
}

/// Loads the model where it must, and embeds every input. Each vector is given to `write` as soon as it is there, in
/// the order of the inputs: what becomes of it is done while the next ones are computed.
pub(crate) async fn embed(
    app: &Arc<App>,
    model: &Model,
    request: Request,
    write: impl FnMut(&[f32]) + Send,
) -> Result<Embedded, Error> {
    let is_embedder = |embedder: &Embedder| match embedder.description().scoring {
        Some(_) => Err(unable(model, "embeddings; it is a reranker")),
        None => Ok(()),
    };
    Ok(compute(app, model, request, is_embedder, write).await?.0)
}

/// Does the same for the pairs of a reranker, whose vectors are single numbers; also returns what makes scores of
/// them.
pub(crate) async fn rank(
    app: &Arc<App>,
    model: &Model,
    request: Request,
    write: impl FnMut(&[f32]) + Send,
) -> Result<(Embedded, Scoring), Error> {
    let scoring = |embedder: &Embedder| {
        embedder.description().scoring.ok_or_else(|| unable(model, "reranking"))
    };
    compute(app, model, request, scoring, write).await
}

/// Returns the error of a model that is of another kind, in Ollama's words.
fn unable(model: &Model, what: &str) -> Error {
    Error::BadRequest(format!("\"{}\" does not support {what}", model.stored.name))
}

async fn compute<T>(
    app: &Arc<App>,
    model: &Model,
    request: Request,
    check: impl FnOnce(&Embedder) -> Result<T, Error> + Send,
    mut write: impl FnMut(&[f32]) + Send,
) -> Result<(Embedded, T), Error> {
    let started = Instant::now();
    if request.inputs.len() > MOST_INPUTS {
        let text = format!("{} inputs, at most {MOST_INPUTS} are allowed", request.inputs.len());
        return Err(Error::BadRequest(text));
    }
    let (lease, own_num_ctx) = lease(app, model, request.keep_alive).await?;
    let checked = check(&lease.embedder)?;
    let num_ctx = request.num_ctx.filter(|n| *n >= 0).or(own_num_ctx.filter(|n| *n >= 0));
    let mut embedded = Embedded { inputs: Vec::new(), load: started.elapsed() };
    if request.inputs.is_empty() {
        return Ok((embedded, checked));
    }
    refuse_zero(num_ctx, request.overflow)?;
    let wanted = num_ctx.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let limit = limit(&lease.embedder, wanted, app.config.context_length);
    let cut = Cut { limit, overflow: request.overflow };
    let mut flow = lease.flow(request.output)?;
    let mut written = 0;
    let mut pieces = pin!(tokenise(Arc::clone(&lease.embedder), request.inputs, cut).fuse());
    while !pieces.is_done() || flow.is_waiting() {
        tokio::select! {
            biased;
            vectors = flow.next(), if flow.is_waiting() => {
                for vector in vectors? {
                    write(&finite(vector, written)?);
                    written += 1;
                }
            }
            Some(texts) = pieces.next(), if !pieces.is_done() && flow.has_room() => {
                let texts = texts?;
                embedded.inputs.extend(texts.iter().map(|text| (text.ids.len(), text.truncated)));
                flow.push(texts)?;
            }
            // The last piece was taken before.
            else => {}
        }
    }
    Ok((embedded, checked))
}

fn finite(vector: Option<Vec<f32>>, index: usize) -> Result<Vec<f32>, Error> {
    let problem = || format!("the embedding of input {index} contains NaN or Inf values");
    vector.ok_or_else(|| Error::Internal(problem()))
}

/// Returns a lease on the model and its own `num_ctx`. Of a model that is in memory nothing is read.
async fn lease(
    app: &Arc<App>,
    model: &Model,
    keep_alive: Option<KeepAlive>,
) -> Result<(Lease, Option<i64>), Error> {
    if let Some(wanted) = model.wanted()
        && let Some(lease) = app.residency.resident(wanted.digest, keep_alive)?
    {
        return Ok((lease, wanted.recipe.num_ctx));
    }
    let stored = model.stored.clone();
    let granted = async {
        let wanted = app.blocking(move |app| app.wanted(&stored)).await?;
        let num_ctx = wanted.recipe.num_ctx;
        model.remember(&wanted);
        Ok((app.residency.acquire(wanted, keep_alive).await?, num_ctx))
    };
    match granted.await {
        Err(error @ Error::Internal(_)) => {
            // Files that are gone belong to a model that was removed meanwhile: then this says so.
            let name = model.stored.name.clone();
            app.blocking(move |app| Ok(app.store.find(&name)?)).await?;
            Err(error)
        }
        granted => granted,
    }
}

/// Returns the tokens that a text may have: what the request or the model's parameters ask for, else the model's own
/// limit, which a setting may lower but never raise.
pub(crate) fn limit(embedder: &Embedder, wanted: Option<usize>, cap: Option<usize>) -> usize {
    match wanted {
        Some(_) => embedder.limit(wanted),
        None => embedder.limit(None).min(cap.unwrap_or(usize::MAX)),
    }
}

/// Refuses a limit of nothing, in Ollama's words.
fn refuse_zero(num_ctx: Option<i64>, overflow: Overflow) -> Result<(), Error> {
    let text = match (num_ctx, overflow) {
        (Some(0), Overflow::Truncate) => {
            "input exceeds maximum context length and cannot be truncated further"
        }
        (Some(0), Overflow::Refuse) => "the input length exceeds the context length",
        _ => return Ok(()),
    };
    Err(Error::BadRequest(text.to_owned()))
}
