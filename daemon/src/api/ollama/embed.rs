//! `/api/embed` and the older `/api/embeddings`: texts in, vectors out.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use axum::{body::Body, extract::State};
use engine::{Output, Overflow};
use modelfiles::KeepAlive;
use serde_json::{Map, Value};

use super::{Reply, bytes, written};
use crate::{
    Error,
    api::{
        floats,
        json::{self, Input, Options},
    },
    app::{App, local_name, pull_first},
    embedding::{self, Embedded, Request},
};

/// What a request to [`embed`] asks for.
struct Asked {
    model: String,
    inputs: Vec<embedding::Input>,
    overflow: Overflow,
    dimensions: Option<usize>,
    options: Option<Map<String, Value>>,
    keep_alive: Option<KeepAlive>,
}

/// Embeds one text or many; the vectors always have length 1.
pub(crate) async fn embed(State(app): State<Arc<App>>, request: Body) -> Reply {
    let started = Instant::now();
    let (asked, _share) = bytes(&app, request).await?.understand(read).await?;
    let Asked { model, inputs, overflow, dimensions, options, keep_alive } = asked;
    let found = app.model(&model, || pull_first(&model)).await?;
    let request = Request {
        inputs,
        overflow,
        num_ctx: num_ctx(options.as_ref())?,
        output: Output { normalize: true, dimensions, ..Output::default() },
        keep_alive,
    };
    let mut out = begin(&model);
    let mut count = 0;
    let embedded = embedding::embed(&app, &found, request, |vector| {
        floats::item(&mut out, count, vector);
        count += 1;
    });
    let embedded = embedded.await?;
    end(&mut out, &embedded, started);
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
    let inputs = texts(object.input("input")?)?;
    let dimensions = dimensions.filter(|n| *n > 0);
    Ok(Asked { model, inputs, overflow, dimensions, options, keep_alive })
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
        overflow: Overflow::Refuse,
        num_ctx: num_ctx(options.as_ref())?,
        output: Output::default(),
        keep_alive,
    };
    let mut vectors = String::new();
    let embedded = embedding::embed(&app, &found, request, |vector| {
        floats::wide_array(&mut vectors, vector);
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
        Input::Ids(_) | Input::Other => {
            return Err(Error::BadRequest("invalid input type".to_owned()));
        }
    };
    Ok(texts.into_iter().map(embedding::Input::Text).collect())
}

/// Returns `num_ctx` of the options, whose wrong types are a 500 as in Ollama.
fn num_ctx(options: Option<&Map<String, Value>>) -> Result<Option<i64>, Error> {
    let Some(options) = options else { return Ok(None) };
    let options = Options::from_map(options).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(options.num_ctx)
}

/// Begins an answer; the vectors are written behind it straight from the floats.
fn begin(model: &str) -> String {
    format!(r#"{{"model":{},"embeddings":["#, json::to_go_json(&model))
}

/// Ends an answer behind its last vector.
fn end(out: &mut String, embedded: &Embedded, started: Instant) {
    out.push(']');
    if !embedded.inputs.is_empty() {
        numbers(out, embedded, started);
    }
    out.push('}');
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
