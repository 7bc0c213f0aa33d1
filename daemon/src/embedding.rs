//! How texts become vectors, whatever the dialect that they came in.

mod reading;
mod tokenising;

use std::{
    collections::VecDeque,
    ops::Range,
    pin::pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use engine::{Description, Embedder, Output, Outputs, Overflow, Scoring, Vectors};
use futures_util::StreamExt as _;
use modelfiles::KeepAlive;

use crate::{Error, app::App, catalog::Model, residency::Lease, worker::PIECE_TEXTS};
pub(crate) use reading::{ChunkKind, Chunks, Plan};
use reading::{Part, Place};
use tokenising::tokenise;

/// Inputs of a request: beyond this the answer alone would fill the memory.
const MOST_INPUTS: usize = 1 << 18;
/// Numbers that wait until the last chunk of a text is computed.
const MOST_HELD: usize = 1 << 26;

/// What an image counts at least: so much text takes about as long.
const IMAGE_BYTES: usize = 1 << 20;

/// What is to be embedded.
pub(crate) enum Input {
    /// A text.
    Text(String),
    /// Token ids of the model's own vocabulary.
    Ids(Vec<u32>),
    /// A query and a document, for a reranker.
    Pair(Arc<Query>, String),
    /// The file of an image.
    Image(Vec<u8>),
}

/// A query of many documents, which is tokenised once.
pub(crate) struct Query {
    pub(crate) text: String,
    /// What it is there for, where the request says.
    pub(crate) instruction: Option<String>,
    tokens: OnceLock<engine::Query>,
}

impl Query {
    /// Takes a query.
    pub(crate) fn new(text: String, instruction: Option<String>) -> Self {
        Self { text, instruction, tokens: OnceLock::new() }
    }

    /// Returns its tokens, for pairs of at most `limit` tokens.
    fn tokens(&self, embedder: &Embedder, limit: usize) -> Result<&engine::Query, engine::Error> {
        if let Some(tokens) = self.tokens.get() {
            return Ok(tokens);
        }
        let found = embedder.tokenize_query(&self.text, self.instruction.as_deref(), limit)?;
        Ok(self.tokens.get_or_init(|| found))
    }
}

impl Input {
    /// Returns how much there is to tokenise.
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ids(ids) => size_of_val(ids.as_slice()),
            Self::Pair(query, document) => query.text.len() + document.len(),
            // A small file may hold a large image.
            Self::Image(file) => file.len().max(IMAGE_BYTES),
        }
    }
}

/// A request for what a model makes of texts.
pub(crate) struct Request {
    pub(crate) inputs: Vec<Input>,
    pub(crate) reading: Reading,
    /// Which outputs, where the request says: else the one vector of a model that gives one, or all that it gives.
    pub(crate) outputs: Option<Outputs>,
    /// Length 1 whether or not the model's own pipeline ends so.
    pub(crate) normalize: bool,
    pub(crate) dimensions: Option<usize>,
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// How texts are to be read.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) overflow: Overflow,
    /// The most tokens of a text, where the request says; negative is as if it did not.
    pub(crate) num_ctx: Option<i64>,
    /// What the texts are there for.
    pub(crate) task: Option<String>,
    /// What stands before every text.
    pub(crate) prompt: Option<String>,
    /// The name of a prompt of the model, which stands there instead.
    pub(crate) prompt_name: Option<String>,
    pub(crate) chunks: Option<Chunks>,
}

/// What there is to tell of a request beside its vectors.
pub(crate) struct Embedded {
    /// What each input had.
    pub(crate) inputs: Vec<Told>,
    /// Which outputs it got.
    pub(crate) outputs: Outputs,
    /// How long the model took to be granted.
    pub(crate) load: Duration,
}

/// What there is to tell of an input.
#[derive(Default)]
pub(crate) struct Told {
    tokens: usize,
    truncated: bool,
    /// Where its chunks begin and end, in characters, if it was to be divided.
    chunks: Option<Vec<Range<usize>>>,
}

impl Embedded {
    /// Returns the tokens of all inputs, special tokens included.
    pub(crate) fn tokens(&self) -> usize {
        self.inputs.iter().map(|input| input.tokens).sum()
    }

    /// Returns what we tell of each input, as JSON: its tokens, whether it was cut, and its chunks.
    pub(crate) fn told(&self) -> String {
        let told = |input: &Told| {
            let Told { tokens, truncated, chunks } = input;
            let chunk =
                |Range { start, end }: &Range<usize>| format!(r#"{{"start":{start},"end":{end}}}"#);
            let chunks = chunks.as_ref().map_or_else(String::new, |chunks| {
                let chunks = chunks.iter().map(chunk).collect::<Vec<_>>().join(",");
                format!(r#","chunks":[{chunks}]"#)
            });
            format!(r#"{{"tokens":{tokens},"truncated":{truncated}{chunks}}}"#)
        };
        format!("[{}]", self.inputs.iter().map(told).collect::<Vec<_>>().join(","))
    }
}

/// Loads the model where it must, and embeds every input. What becomes of each is given to `write`, with the outputs
/// that it has, as soon as it is there, in the order of the inputs: the next ones are computed meanwhile.
pub(crate) async fn embed(
    app: &Arc<App>,
    model: &Model,
    request: Request,
    write: impl FnMut(Outputs, &Vectors) -> Result<(), Error> + Send,
) -> Result<Embedded, Error> {
    let has_images = request.inputs.iter().any(|input| matches!(input, Input::Image(_)));
    let is_embedder = |embedder: &Embedder| match embedder.description() {
        Description { scoring: Some(_), .. } => Err(unable(model, "embeddings; it is a reranker")),
        Description { images: false, .. } if has_images => Err(unable(model, "images")),
        _ => Ok(()),
    };
    Ok(compute(app, model, request, is_embedder, write).await?.0)
}

/// Does the same for the pairs of a reranker, whose vectors are single numbers; also returns what makes scores of
/// them.
pub(crate) async fn rank(
    app: &Arc<App>,
    model: &Model,
    request: Request,
    mut write: impl FnMut(&[f32]) + Send,
) -> Result<(Embedded, Scoring), Error> {
    let is_told = request
        .inputs
        .iter()
        .any(|input| matches!(input, Input::Pair(query, _) if query.instruction.is_some()));
    let scoring = |embedder: &Embedder| {
        let description = embedder.description();
        if is_told && description.scoring.is_some() && description.instruction.is_none() {
            return Err(unable(model, "an instruction"));
        }
        description.scoring.ok_or_else(|| unable(model, "reranking"))
    };
    let write = |_, vectors: &Vectors| {
        write(&vectors.dense);
        Ok(())
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
    write: impl FnMut(Outputs, &Vectors) -> Result<(), Error> + Send,
) -> Result<(Embedded, T), Error> {
    let started = Instant::now();
    let Request { inputs, reading, outputs, normalize, dimensions, keep_alive } = request;
    if inputs.len() > MOST_INPUTS {
        let text = format!("{} inputs, at most {MOST_INPUTS} are allowed", inputs.len());
        return Err(Error::BadRequest(text));
    }
    let (lease, own_num_ctx) = lease(app, model, keep_alive).await?;
    let embedder = &lease.embedder;
    let checked = check(embedder)?;
    let outputs = resolve(model, embedder, outputs, reading.chunks)?;
    let embedded = Embedded { inputs: Vec::new(), outputs, load: started.elapsed() };
    if inputs.is_empty() {
        return Ok((embedded, checked));
    }
    let num_ctx = reading.num_ctx.filter(|n| *n >= 0).or(own_num_ctx.filter(|n| *n >= 0));
    refuse_zero(num_ctx, reading.overflow)?;
    let wanted = num_ctx.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let limit = limit(embedder, wanted, app.config.context_length);
    let plan = Plan::of(embedder, reading, limit)?;
    let output = Output { outputs, normalize, dimensions };
    let chunks = plan.chunks;
    let mut gathering =
        Gathering { embedder, output, chunks, embedded, held: 0, parts: Vec::new(), write };
    let mut flow = lease.flow(output)?;
    let (mut ready, mut under_way) = (VecDeque::new(), VecDeque::new());
    let mut pieces = pin!(tokenise(Arc::clone(embedder), inputs, plan).fuse());
    while !pieces.is_done() || !ready.is_empty() || flow.is_waiting() {
        tokio::select! {
            biased;
            answers = flow.next(), if flow.is_waiting() => {
                for (answer, place) in answers?.into_iter().zip(std::iter::from_fn(|| under_way.pop_front())) {
                    gathering.take(place, answer)?;
                }
            }
            Some(parts) = pieces.next(), if !pieces.is_done() && ready.is_empty() && flow.has_room() => {
                ready.extend(parts?);
            }
            // The last piece was taken before.
            else => {}
        }
        if !ready.is_empty() && flow.has_room() {
            let (texts, places): (Vec<_>, Vec<_>) =
                ready.drain(..ready.len().min(PIECE_TEXTS)).map(Part::split).unzip();
            under_way.extend(places);
            flow.push(texts)?;
        }
    }
    Ok((gathering.embedded, checked))
}

/// Returns which outputs the model shall give.
fn resolve(
    model: &Model,
    embedder: &Embedder,
    asked: Option<Outputs>,
    chunks: Option<Chunks>,
) -> Result<Outputs, Error> {
    let given = embedder.description().outputs;
    let outputs = asked.unwrap_or(if given.dense { Outputs::DENSE } else { given });
    if let Some(name) = outputs.names().find(|name| !given.names().any(|other| other == *name)) {
        return Err(unable(model, &format!("{name} output")));
    }
    if let Some(Chunks { kind: ChunkKind::Late, .. }) = chunks {
        if !embedder.knows_parts() {
            return Err(unable(model, "late chunking, which takes the mean of tokens"));
        }
        if outputs != Outputs::DENSE {
            let text = "late chunking gives dense vectors only".to_owned();
            return Err(Error::BadRequest(text));
        }
    }
    Ok(outputs)
}

/// What comes back of the texts of a request, on its way to the answer.
struct Gathering<'a, W> {
    embedder: &'a Embedder,
    output: Output,
    chunks: Option<Chunks>,
    embedded: Embedded,
    /// Numbers of vectors per token that wait below.
    held: usize,
    /// What chunks of the present input gave that are to become one, each with its tokens.
    parts: Vec<(usize, Vectors)>,
    write: W,
}

impl<W: FnMut(Outputs, &Vectors) -> Result<(), Error>> Gathering<'_, W> {
    /// Takes what became of a part of an input.
    fn take(&mut self, place: Place, answer: Option<Vectors>) -> Result<(), Error> {
        let Place { input, tokens, truncated, chunks, is_last } = place;
        let problem = || format!("the embedding of input {input} contains NaN or Inf values");
        let vectors = answer.ok_or_else(|| Error::Internal(problem()))?;
        if self.embedded.inputs.len() <= input {
            let chunks = self.chunks.is_some().then(Vec::new);
            self.embedded.inputs.push(Told { chunks, ..Told::default() });
        }
        if let Some(told) = self.embedded.inputs.last_mut() {
            told.tokens += tokens;
            told.truncated |= truncated;
            told.chunks.iter_mut().for_each(|all| all.extend(chunks.iter().cloned()));
        }
        let outputs = self.output.outputs;
        match self.chunks.map(|chunks| chunks.kind) {
            None | Some(ChunkKind::Each) => (self.write)(outputs, &vectors),
            Some(ChunkKind::Late) => vectors.parts.into_iter().try_for_each(|dense| {
                (self.write)(outputs, &Vectors { dense, ..Vectors::default() })
            }),
            Some(ChunkKind::Pool) => {
                self.held += vectors.multivector.iter().map(Vec::len).sum::<usize>();
                if self.held > MOST_HELD {
                    let text = "the vectors per token of a text are too many".to_owned();
                    return Err(Error::BadRequest(text));
                }
                self.parts.push((tokens, vectors));
                if !is_last {
                    return Ok(());
                }
                self.held = 0;
                let whole = self.embedder.combine(std::mem::take(&mut self.parts), self.output);
                (self.write)(outputs, &whole)
            }
        }
    }
}

/// Returns a lease on the model and its own `num_ctx`. Of a model that is in memory nothing is read.
pub(crate) async fn lease(
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
