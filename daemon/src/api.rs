//! Which handler answers which route; a new dialect is one file beside this and its lines in the table here.

mod floats;
mod health;
pub(crate) mod json;
mod ollama;
mod openai;
mod time;
mod vectors;

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, head, post},
};

use crate::app::App;

/// Returns the routes; [`crate::edge::ROUTES`] names the same ones to whatever stands before them.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(ollama::root))
        .route("/health", get(health::health))
        .route("/api/version", get(ollama::version))
        .route("/api/status", get(ollama::status))
        .route("/api/tags", get(ollama::models::tags))
        .route("/api/ps", get(ollama::models::ps))
        .route("/api/show", post(ollama::show::show))
        .route("/api/pull", post(ollama::pull::pull))
        .route("/api/push", post(ollama::pull::push))
        .route("/api/delete", delete(ollama::models::delete))
        .route("/api/copy", post(ollama::models::copy))
        .route("/api/create", post(ollama::create::create))
        .route("/api/verify", post(ollama::upkeep::verify))
        .route("/api/prune", post(ollama::upkeep::prune))
        .route("/api/blobs/{digest}", head(ollama::blobs::check).post(ollama::blobs::upload))
        .route("/api/save", post(ollama::archive::save))
        .route("/api/load", post(ollama::archive::load))
        .route("/api/embed", post(ollama::embed::embed))
        .route("/api/embeddings", post(ollama::embed::embeddings))
        .route("/api/rerank", post(ollama::rerank::rerank))
        .route("/api/tokenize", post(ollama::tokenize::tokenize))
        .route("/api/detokenize", post(ollama::tokenize::detokenize))
        .route("/api/generate", post(ollama::unload::generate))
        .route("/api/chat", post(ollama::unload::chat))
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{*model}", get(openai::model))
        .with_state(app)
}
