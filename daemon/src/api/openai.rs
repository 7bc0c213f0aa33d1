//! OpenAI's dialect, under `/v1`: embeddings and the list of models.

use std::{sync::Arc, time::SystemTime};

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use engine::{Output, Overflow};
use http::{StatusCode, header::CONTENT_TYPE};
use modelfiles::Name;
use serde_json::{Value, json};

use super::{
    floats,
    json::{self, DecodeError, Input, Object, to_go_json},
    time,
};
use crate::{
    Error,
    app::{App, local_name, pull_first},
    body,
    embedding::{self, Embedded, Request},
};

/// A failure in OpenAI's form.
pub(crate) struct Failure(Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let kind = match self.0.status() {
            StatusCode::BAD_REQUEST => "invalid_request_error",
            StatusCode::NOT_FOUND => "not_found_error",
            _ => "api_error",
        };
        let error =
            json!({ "message": self.0.to_string(), "type": kind, "param": null, "code": null });
        let mut response = answer(self.0.status(), &json!({ "error": error }));
        if let Some(seconds) = self.0.retry_after_seconds() {
            response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

type Reply = Result<Response, Failure>;

/// How the vectors are written.
#[derive(Clone, Copy)]
enum Encoding {
    Float,
    Base64,
}

/// Embeds texts, or token ids of the model's own vocabulary.
pub(crate) async fn embeddings(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = body::read(request, app.config.max_body_bytes).await?;
    let object = json::object("openai.EmbedRequest", &body).map_err(worded)?;
    let model = object.string("model")?.unwrap_or_default();
    let encoding = encoding(&object)?;
    let dimensions = object.integer("dimensions")?.and_then(|n| usize::try_from(n).ok());
    let inputs = inputs(object.input("input")?)?;
    drop(object);
    if model.trim().is_empty() {
        return Err(Error::NotFound(format!("model '{model}' not found")).into());
    }
    let stored = app.find(&model, || pull_first(&model)).await?;
    let request = Request {
        inputs,
        overflow: Overflow::Truncate,
        num_ctx: None,
        output: Output { normalize: true, dimensions: dimensions.filter(|n| *n > 0) },
        keep_alive: None,
    };
    let embedded = embedding::embed(&app, stored, request).await?;
    Ok(json_line(StatusCode::OK, list(&model, &embedded, encoding)))
}

/// Words an empty body as OpenAI's middleware of Ollama does.
fn worded(error: DecodeError) -> Error {
    match error {
        DecodeError::Empty => Error::BadRequest("EOF".to_owned()),
        DecodeError::Invalid(text) => Error::BadRequest(text),
    }
}

fn encoding(object: &Object<'_>) -> Result<Encoding, Error> {
    let text = object.string("encoding_format")?.unwrap_or_default();
    match text.to_ascii_lowercase().as_str() {
        "" | "float" => Ok(Encoding::Float),
        "base64" => Ok(Encoding::Base64),
        _ => Err(Error::BadRequest(format!(
            "Invalid value for 'encoding_format' = {text}. Supported values: ['float', 'base64']."
        ))),
    }
}

fn inputs(input: Input) -> Result<Vec<embedding::Input>, Error> {
    let inputs: Vec<embedding::Input> = match input {
        Input::One(text) => vec![embedding::Input::Text(text)],
        Input::Many(texts) => texts.into_iter().map(embedding::Input::Text).collect(),
        Input::Ids(lists) => lists.into_iter().map(embedding::Input::Ids).collect(),
        Input::Absent => Vec::new(),
        Input::Other => return Err(Error::BadRequest("invalid input type".to_owned())),
    };
    if inputs.is_empty() {
        return Err(Error::BadRequest("invalid input".to_owned()));
    }
    Ok(inputs)
}

fn list(model: &str, embedded: &Embedded, encoding: Encoding) -> String {
    let values: usize = embedded.vectors.iter().map(Vec::len).sum();
    let mut out = String::with_capacity(256 + 14 * values);
    out.push_str(r#"{"object":"list","data":["#);
    for (index, vector) in embedded.vectors.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        out.push_str(comma);
        out.push_str(r#"{"object":"embedding","embedding":"#);
        match encoding {
            Encoding::Float => floats::array(&mut out, vector),
            Encoding::Base64 => floats::base64(&mut out, vector),
        }
        out.push_str(r#","index":"#);
        out.push_str(&index.to_string());
        out.push('}');
    }
    let tokens = embedded.tokens();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    out.push_str(r#"],"model":"#);
    out.push_str(&to_go_json(&model));
    out.push_str(r#","usage":"#);
    out.push_str(&usage.to_string());
    out.push('}');
    out
}

/// Lists the models of the store.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Reply {
    let models = app.blocking(|app| Ok(app.store.list()?)).await?;
    let rows: Vec<Value> = models
        .iter()
        .map(|stored| row(&stored.name.to_string(), &stored.name, stored.modified))
        .collect();
    // An empty list is null, as Go writes it.
    let data = if rows.is_empty() { Value::Null } else { Value::Array(rows) };
    Ok(answer(StatusCode::OK, &json!({ "object": "list", "data": data })))
}

/// Tells of one model.
pub(crate) async fn model(State(app): State<Arc<App>>, Path(text): Path<String>) -> Reply {
    let name = local_name(&text)?;
    let stored = app.find(&text, || format!("model '{name}' not found")).await?;
    Ok(answer(StatusCode::OK, &row(&text, &stored.name, stored.modified)))
}

fn row(id: &str, name: &Name, modified: SystemTime) -> Value {
    let created = time::unix(modified);
    json!({ "id": id, "object": "model", "created": created, "owned_by": name.namespace() })
}

fn answer(status: StatusCode, value: &Value) -> Response {
    json_line(status, to_go_json(value))
}

fn json_line(status: StatusCode, mut text: String) -> Response {
    text.push('\n');
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}
