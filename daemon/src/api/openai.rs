//! OpenAI's dialect, under `/v1`: embeddings and the list of models.

use std::{sync::Arc, time::SystemTime};

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use engine::Outputs;
use http::{StatusCode, header::CONTENT_TYPE};
use modelfiles::Name;
use serde_json::{Value, json};

use super::{
    json::{self, DecodeError, Input, Object, to_go_json},
    ollama, time,
    vectors::Encoding,
};
use crate::{
    Error,
    app::{App, local_name, pull_first},
    embedding::{self, Embedded, Reading, Request},
};

/// A failure in OpenAI's form.
pub(crate) struct Failure {
    error: Error,
    stage: Stage,
}

/// Which part of Ollama would refuse a request: the two write their answers differently.
enum Stage {
    /// The translation of the request.
    Translation,
    /// The handler of its own route.
    Handler,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), stage: Stage::Handler }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { error, stage } = self;
        // As in Ollama, what concerns its cloud keeps the form of its own routes.
        if let Error::Forbidden(_) = error {
            return ollama::Failure(error).into_response();
        }
        let status = error.status();
        let kind = match status {
            StatusCode::BAD_REQUEST => "invalid_request_error",
            StatusCode::NOT_FOUND => "not_found_error",
            _ => "api_error",
        };
        let told =
            json!({ "message": error.to_string(), "type": kind, "param": null, "code": null });
        let told = json!({ "error": told });
        let mut response = match stage {
            Stage::Translation => ollama::answer(status, &told),
            Stage::Handler => answer(status, &told),
        };
        if let Some(seconds) = error.retry_after_seconds() {
            response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

type Reply = Result<Response, Failure>;

/// What a request asks for.
struct Asked {
    model: String,
    input: Input,
    dimensions: Option<usize>,
    encoding: Encoding,
}

/// Embeds texts, or token ids of the model's own vocabulary.
pub(crate) async fn embeddings(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = app.bodies.read(request).await?;
    let asked = body.understand(read).await;
    let (Asked { model, input, dimensions, encoding }, _share) =
        asked.map_err(|error| Failure { error, stage: Stage::Translation })?;
    if model.trim().is_empty() {
        return Err(Error::NotFound(format!("model '{model}' not found")).into());
    }
    local_name(&model)?;
    let inputs = inputs(input)?;
    let found = app.model(&model, || pull_first(&model)).await?;
    let request = Request {
        inputs,
        reading: Reading::default(),
        outputs: Some(Outputs::DENSE),
        normalize: true,
        dimensions,
        keep_alive: None,
    };
    let mut out = String::from(r#"{"object":"list","data":["#);
    let mut count = 0;
    let embedded = embedding::embed(&app, &found, request, |_, vectors| {
        item(&mut out, count, &vectors.dense, encoding);
        count += 1;
        Ok(())
    });
    let embedded = embedded.await?;
    end(&mut out, &model, &embedded);
    Ok(json_line(StatusCode::OK, out))
}

fn read(body: &[u8]) -> Result<Asked, Error> {
    let object = json::object("openai.EmbedRequest", body).map_err(worded)?;
    let model = object.string("model")?.unwrap_or_default();
    let dimensions = object.integer("dimensions")?.and_then(|n| usize::try_from(n).ok());
    let encoding = encoding(&object)?;
    let input = object.input("input")?;
    let is_empty = match &input {
        Input::Absent => true,
        Input::Many(texts) => texts.is_empty(),
        Input::One(_) | Input::Ids(_) | Input::Other => false,
    };
    if is_empty {
        return Err(Error::BadRequest("invalid input".to_owned()));
    }
    Ok(Asked { model, input, dimensions: dimensions.filter(|n| *n > 0), encoding })
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
    match Encoding::parse(&text) {
        Some(encoding @ (Encoding::Float | Encoding::Base64)) => Ok(encoding),
        _ => Err(Error::BadRequest(format!(
            "Invalid value for 'encoding_format' = {text}. Supported values: ['float', 'base64']."
        ))),
    }
}

fn inputs(input: Input) -> Result<Vec<embedding::Input>, Error> {
    match input {
        Input::One(text) => Ok(vec![embedding::Input::Text(text)]),
        Input::Many(texts) => Ok(texts.into_iter().map(embedding::Input::Text).collect()),
        Input::Ids(lists) => Ok(lists.into_iter().map(embedding::Input::Ids).collect()),
        Input::Absent | Input::Other => Err(Error::BadRequest("invalid input type".to_owned())),
    }
}

/// Appends one vector with its place.
fn item(out: &mut String, index: usize, vector: &[f32], encoding: Encoding) {
    if index > 0 {
        out.push(',');
    }
    out.push_str(r#"{"object":"embedding","embedding":"#);
    encoding.write(out, vector);
    out.push_str(r#","index":"#);
    out.push_str(&index.to_string());
    out.push('}');
}

/// Ends an answer behind its last vector.
fn end(out: &mut String, model: &str, embedded: &Embedded) {
    let tokens = embedded.tokens();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    out.push_str(r#"],"model":"#);
    out.push_str(&to_go_json(&model));
    out.push_str(r#","usage":"#);
    out.push_str(&usage.to_string());
    // Not OpenAI's; its clients ignore it.
    out.push_str(r#","inputs":"#);
    out.push_str(&embedded.told());
    out.push('}');
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
