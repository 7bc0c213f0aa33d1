//! `/api/embed` and the older `/api/embeddings`: texts in, vectors out.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use axum::{body::Body, extract::State};
use engine::{Outputs, Overflow, Vectors};
use serde_json::{Map, Value};

use super::{Reply, bytes, images, written};
use crate::{
    Error,
    api::{
        floats,
        json::{self, Input, Object, Options},
        vectors::{Encoding, Lists},
    },
    app::{App, local_name, pull_first},
    embedding::{self, ChunkKind, Chunks, Embedded, Reading, Request},
};

/// What a request to [`embed`] asks for.
struct Asked {
    model: String,
    request: Request,
    options: Option<Map<String, Value>>,
    encoding: Encoding,
}

/// Embeds one text or many; the vectors have length 1 unless the request says otherwise.
pub(crate) async fn embed(State(app): State<Arc<App>>, request: Body) -> Reply {
    let started = Instant::now();
    let (asked, _share) = bytes(&app, request).await?.understand(read).await?;
    let Asked { model, mut request, options, encoding } = asked;
    let found = app.model(&model, || pull_first(&model)).await?;
    request.reading.num_ctx = num_ctx(options.as_ref())?;
    let mut lists = Lists::new(encoding);
    let write = |outputs, vectors: &Vectors| lists.add(outputs, vectors);
    let embedded = embedding::embed(&app, &found, request, write).await?;
    let mut out = format!(r#"{{"model":{},"#, json::to_go_json(&model));
    lists.end(embedded.outputs, &mut out);
    if !embedded.inputs.is_empty() {
        numbers(&mut out, &embedded, started);
    }
    out.push('}');
    Ok(written(out))
}

fn read(body: &[u8]) -> Result<Asked, Error> {
    let object = json::object("api.EmbedRequest", body)?;
    let keep_alive = object.keep_alive("keep_alive")?;
    let model = object.string("model")?.unwrap_or_default();
    let overflow = overflow(object.boolean("truncate")?);
    let dimensions = object.integer("dimensions")?.and_then(|n| usize::try_from(n).ok());
    let options = object.map("options")?;
    if model.trim().is_empty() {
        return Err(Error::NotFound(format!("model '{model}' not found")));
    }
    local_name(&model)?;
    let mut inputs = texts(object.input("input")?)?;
    inputs.extend(images::read(object.strings("images")?.unwrap_or_default())?);
    let request = Request {
        inputs,
        reading: Reading { overflow, chunks: chunks(&object)?, ..reading(&object)? },
        outputs: outputs(&object)?,
        normalize: object.boolean("normalize")?.unwrap_or(true),
        dimensions: dimensions.filter(|n| *n > 0),
        keep_alive,
    };
    Ok(Asked { model, request, options, encoding: encoding(&object)? })
}

/// Returns what a request says of the texts that it brings.
pub(super) fn reading(object: &Object<'_>) -> Result<Reading, Error> {
    Ok(Reading {
        task: object.string("task")?,
        prompt: object.string("prompt")?,
        prompt_name: object.string("prompt_name")?,
        ..Reading::default()
    })
}

fn encoding(object: &Object<'_>) -> Result<Encoding, Error> {
    let name = object.string("encoding_format")?.unwrap_or_default();
    let known = "float, base64, int8, uint8, binary and ubinary";
    Encoding::parse(&name).ok_or_else(|| unknown("encoding_format", &name, known))
}

fn outputs(object: &Object<'_>) -> Result<Option<Outputs>, Error> {
    let Some(names) = object.strings("outputs")? else { return Ok(None) };
    let mut outputs = Outputs::NONE;
    for name in names {
        match name.trim().to_ascii_lowercase().as_str() {
            "dense" => outputs.dense = true,
            "sparse" => outputs.sparse = true,
            "multivector" => outputs.multivector = true,
            _ => return Err(unknown("outputs", &name, "dense, sparse and multivector")),
        }
    }
    Ok(Some(outputs).filter(|outputs| *outputs != Outputs::NONE))
}

/// Returns what `chunk` says: true, or what becomes of the chunks.
fn chunks(object: &Object<'_>) -> Result<Option<Chunks>, Error> {
    let asked = object.integer("chunk_tokens")?;
    let kind = match object.value("chunk")? {
        None if asked.is_none() => return Ok(None),
        Some(Value::Bool(false)) => return Ok(None),
        None | Some(Value::Bool(true)) => ChunkKind::Pool,
        Some(Value::String(kind)) => match kind.to_ascii_lowercase().as_str() {
            "pool" | "true" => ChunkKind::Pool,
            "each" => ChunkKind::Each,
            "late" => ChunkKind::Late,
            _ => return Err(unknown("chunk", &kind, "true, pool, each and late")),
        },
        Some(other) => {
            return Err(unknown("chunk", &other.to_string(), "true, pool, each and late"));
        }
    };
    let tokens = match asked {
        Some(n) if n < 1 => {
            return Err(Error::BadRequest("chunk_tokens must be at least 1".to_owned()));
        }
        n => n.and_then(|n| usize::try_from(n).ok()),
    };
    Ok(Some(Chunks { kind, tokens }))
}

fn unknown(field: &str, value: &str, known: &str) -> Error {
    Error::BadRequest(format!("invalid value '{value}' for '{field}': there are {known}"))
}

/// Embeds one text as the model's own pipeline gives it. A text that is too long is an error here.
pub(crate) async fn embeddings(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.EmbeddingRequest", &body)?;
    let keep_alive = object.keep_alive("keep_alive")?;
    let model = object.string("model")?.unwrap_or_default();
    let prompt = object.string("prompt")?.filter(|prompt| !prompt.is_empty());
    let options = object.map("options")?;
    if model.is_empty() {
        return Err(Error::BadRequest("model is required".to_owned()).into());
    }
    let found = app.model(&model, || pull_first(&model)).await?;
    let request = Request {
        inputs: prompt.into_iter().map(embedding::Input::Text).collect(),
        reading: Reading {
            overflow: Overflow::Refuse,
            num_ctx: num_ctx(options.as_ref())?,
            ..Reading::default()
        },
        outputs: Some(Outputs::DENSE),
        normalize: false,
        dimensions: None,
        keep_alive,
    };
    let mut vectors = String::new();
    let embedded = embedding::embed(&app, &found, request, |_, found| {
        floats::wide_array(&mut vectors, &found.dense);
        Ok(())
    });
    embedded.await.map_err(|error| match error {
        // Ollama answers 500 here for what is a 400 on the newer route.
        Error::BadRequest(text) => Error::Internal(text),
        other => other,
    })?;
    let vector = if vectors.is_empty() { "[]" } else { &vectors };
    Ok(written(format!(r#"{{"embedding":{vector}}}"#)))
}

/// Cuts texts that are too long, unless the request forbids it.
fn overflow(truncate: Option<bool>) -> Overflow {
    if truncate.unwrap_or(true) { Overflow::Truncate } else { Overflow::Refuse }
}

/// Returns the texts of `input`; an absent or empty one only loads the model.
fn texts(input: Input) -> Result<Vec<embedding::Input>, Error> {
    let texts = match input {
        Input::Absent => Vec::new(),
        Input::One(text) if text.is_empty() => Vec::new(),
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
        Input::Ids(_) | Input::Other => return Err(invalid_input()),
    };
    Ok(texts.into_iter().map(embedding::Input::Text).collect())
}

/// Returns the error for an input of another type, in Ollama's words.
pub(super) fn invalid_input() -> Error {
    Error::BadRequest("invalid input type".to_owned())
}

/// Returns `num_ctx` of the options, whose wrong types are a 500 as in Ollama.
fn num_ctx(options: Option<&Map<String, Value>>) -> Result<Option<i64>, Error> {
    let Some(options) = options else { return Ok(None) };
    let options = Options::from_map(options).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(options.num_ctx)
}

/// Appends what Ollama says of its work, and what we add per input.
pub(super) fn numbers(out: &mut String, embedded: &Embedded, started: Instant) {
    let written = write!(
        out,
        r#","total_duration":{},"load_duration":{},"prompt_eval_count":{},"inputs":{}"#,
        started.elapsed().as_nanos(),
        embedded.load.as_nanos().max(1),
        embedded.tokens(),
        embedded.told(),
    );
    debug_assert!(written.is_ok(), "a string takes everything");
}
