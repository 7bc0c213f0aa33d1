//! `/api/embed` and the older `/api/embeddings`: texts in, vectors out.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use axum::{body::Body, extract::State};
use engine::{Output, Overflow};

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

/// Embeds one text or many; the vectors always have length 1.
pub(crate) async fn embed(State(app): State<Arc<App>>, request: Body) -> Reply {
    let started = Instant::now();
    let body = bytes(&app, request).await?;
    let object = json::object("api.EmbedRequest", &body)?;
    let keep_alive = object.keep_alive("keep_alive")?;
    let model = object.string("model")?.unwrap_or_default();
    let overflow = overflow(object.boolean("truncate")?);
    let dimensions = object.integer("dimensions")?.and_then(|n| usize::try_from(n).ok());
    let options = object.map("options")?;
    if model.trim().is_empty() {
        return Err(Error::NotFound(format!("model '{model}' not found")).into());
    }
    local_name(&model)?;
    let inputs = texts(object.input("input")?)?;
    drop(object);
    let stored = app.find(&model, || pull_first(&model)).await?;
    let request = Request {
        inputs,
        overflow,
        num_ctx: num_ctx(options.as_ref())?,
        output: Output { normalize: true, dimensions: dimensions.filter(|n| *n > 0) },
        keep_alive,
    };
    let embedded = embedding::embed(&app, stored, request).await?;
    Ok(written(answer(&model, &embedded, started)))
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
    let stored = app.find(&model, || pull_first(&model)).await?;
    let request = Request {
        inputs: prompt.into_iter().map(embedding::Input::Text).collect(),
        overflow: Overflow::Refuse,
        num_ctx: num_ctx(options.as_ref())?,
        output: Output::default(),
        keep_alive,
    };
    let embedded = embedding::embed(&app, stored, request).await.map_err(|error| match error {
        // Ollama answers 500 here for what is a 400 on the newer route.
        Error::BadRequest(text) => Error::Internal(text),
        other => other,
    })?;
    let mut out = String::from(r#"{"embedding":"#);
    floats::wide_array(&mut out, embedded.vectors.first().map_or(&[], Vec::as_slice));
    out.push('}');
    Ok(written(out))
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
fn num_ctx(
    options: Option<&serde_json::Map<String, serde_json::Value>>,
) -> Result<Option<i64>, Error> {
    let Some(options) = options else { return Ok(None) };
    let options = Options::from_map(options).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(options.num_ctx)
}

/// Writes the answer straight from the floats.
fn answer(model: &str, embedded: &Embedded, started: Instant) -> String {
    let values: usize = embedded.vectors.iter().map(Vec::len).sum();
    let mut out = String::with_capacity(256 + 14 * values);
    out.push_str(r#"{"model":"#);
    out.push_str(&json::to_go_json(&model));
    out.push_str(r#","embeddings":["#);
    for (i, vector) in embedded.vectors.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        floats::array(&mut out, vector);
    }
    out.push(']');
    if !embedded.vectors.is_empty() {
        numbers(&mut out, embedded, started);
    }
    out.push('}');
    out
}

/// Appends what Ollama says of its work, and what we add per input.
fn numbers(out: &mut String, embedded: &Embedded, started: Instant) {
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
