//! Whether the service lives.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

/// Answers as soon as a request can be taken at all.
pub(crate) async fn health() -> Response {
    ([(CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#).into_response()
}
