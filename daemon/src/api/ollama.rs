//! Ollama's own dialect, under `/api`: JSON in, JSON or a stream of JSON lines out, its exact words on failure.

pub(crate) mod archive;
pub(crate) mod blobs;
pub(crate) mod create;
mod details;
pub(crate) mod embed;
mod events;
mod images;
pub(crate) mod models;
pub(crate) mod pull;
pub(crate) mod rerank;
pub(crate) mod show;
pub(crate) mod tokenize;
pub(crate) mod unload;
pub(crate) mod upkeep;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::json;

use super::json::{DecodeError, Object, to_go_json};
use crate::{Error, app::App, body::Whole};

/// The version of Ollama whose contract this is; clients gate features on it.
const CONTRACT: &str = "0.33.0";
const JSON: &str = "application/json; charset=utf-8";

/// A failure in Ollama's words: `{"error":"…"}`.
pub(crate) struct Failure(pub(crate) Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = answer(self.0.status(), &json!({ "error": self.0.to_string() }));
        if let Some(seconds) = self.0.retry_after_seconds() {
            response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

/// What a handler gives.
pub(crate) type Reply = Result<Response, Failure>;

/// Answers that the service is there, in the words that other programs look for.
pub(crate) async fn root() -> &'static str {
    "Ollama is running"
}

/// Answers with the version of the contract.
pub(crate) async fn version() -> Response {
    answer(StatusCode::OK, &json!({ "version": CONTRACT }))
}

/// Answers that there is no cloud here.
pub(crate) async fn status() -> Response {
    answer(StatusCode::OK, &json!({ "cloud": { "disabled": true, "source": "config" } }))
}

/// Returns a JSON answer.
pub(crate) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    (status, [(CONTENT_TYPE, JSON)], to_go_json(value)).into_response()
}

/// Returns an answer whose JSON is written already.
fn written(text: String) -> Response {
    ([(CONTENT_TYPE, JSON)], text).into_response()
}

/// Reads the body of a request.
async fn bytes(app: &App, request: Body) -> Result<Whole, Error> {
    app.bodies.read(request).await
}

/// Returns the name of the model, under its new or its old key.
fn model(object: &Object<'_>) -> Result<String, Error> {
    let model = object.string("model")?.filter(|name| !name.is_empty());
    Ok(model.or(object.string("name")?).unwrap_or_default())
}
