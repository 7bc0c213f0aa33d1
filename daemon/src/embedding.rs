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
    worker::{PIECE_TOKENS, Vectors},
};

/// Inputs of a request: beyond this the answer alone would fill the memory.
const MOST_INPUTS: usize = 1 << 18;
/// Texts of a request that are tokenised at once.
const PIECE_TEXTS: usize = 64;

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

    /// Returns what we tell of each input, as JSON: its tokens and whether it was cut.
    pub(crate) fn told(&self) -> String {
        let told = |(tokens, truncated): &(usize, bool)| {
            format!(r#"{{"tokens":{tokens},"truncated":{truncated}}}"#)
        };
        format!("[{}]", self.inputs.iter().map(told).collect::<Vec<_>>().join(","))
    }
}

/// Loads the model where it must, and embeds every input.
pub(crate) async fn embed(
    app: &Arc<App>,
    stored: Stored,
    request: Request,
) -> Result<Embedded, Error> {
    let started = Instant::now();
    if request.inputs.len() > MOST_INPUTS {
        let text = format!("{} inputs, at most {MOST_INPUTS} are allowed", request.inputs.len());
        return Err(Error::BadRequest(text));
    }
    let (lease, own_num_ctx) = lease(app, stored, request.keep_alive).await?;
    let num_ctx = request.num_ctx.filter(|n| *n >= 0).or(own_num_ctx.filter(|n| *n >= 0));
    let load = started.elapsed();
    if request.inputs.is_empty() {
        return Ok(Embedded { vectors: Vec::new(), inputs: Vec::new(), load });
    }
    refuse_zero(num_ctx, request.overflow)?;
    let wanted = num_ctx.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let limit = limit(&lease.embedder, wanted, app.config.context_length);
    let mut embedded = Embedded { vectors: Vec::new(), inputs: Vec::new(), load };
    let mut inputs = request.inputs.into_iter().peekable();
    while inputs.peek().is_some() {
        let piece = inputs.by_ref().take(PIECE_TEXTS).collect();
        let texts = tokenize(&lease, piece, limit, request.overflow).await?;
        embedded.inputs.extend(texts.iter().map(|text| (text.ids.len(), text.truncated)));
        compute(&lease, texts, request.output, &mut embedded.vectors).await?;
    }
    Ok(embedded)
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

/// Embeds texts piece by piece: between two pieces the requests beside this one get
/// their turns, and a client that leaves takes the rest with it.
async fn compute(
    lease: &Lease,
    mut texts: Vec<Tokens>,
    output: Output,
    vectors: &mut Vec<Vec<f32>>,
) -> Result<(), Error> {
    while !texts.is_empty() {
        let rest = texts.split_off(piece(&texts));
        let piece: Vectors = lease.embed(std::mem::replace(&mut texts, rest), output).await?;
        for vector in piece {
            let index = vectors.len();
            let problem = || format!("the embedding of input {index} contains NaN or Inf values");
            vectors.push(vector.ok_or_else(|| Error::Internal(problem()))?);
        }
    }
    Ok(())
}

/// Returns how many of these texts travel as one piece: at least one.
fn piece(texts: &[Tokens]) -> usize {
    let mut tokens = 0;
    let fits = texts.iter().take_while(|text| {
        tokens += text.ids.len();
        tokens <= PIECE_TOKENS
    });
    fits.count().max(1)
}
