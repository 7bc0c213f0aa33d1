//! `/api/tags`, `/api/ps`, `/api/copy` and `/api/delete`: which models there are, and their names.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::IntoResponse};
use http::StatusCode;
use modelfiles::{Name, Recipe, human};
use serde_json::{Value, json};

use super::{
    Reply, answer, bytes,
    details::{Details, Row},
    model, written,
};
use crate::{
    Error,
    api::{json, time},
    app::{App, local_name},
    embedding,
    residency::Seen,
};

/// Lists the models of the store, the newest first.
pub(crate) async fn tags(State(app): State<Arc<App>>) -> Reply {
    let rows = app.blocking(|app| {
        let rows =
            app.listing.rows(&app.store, |stored| json::to_go_json(&Row::of(app, stored)))?;
        Ok(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join(","))
    });
    Ok(written(format!("{{\"models\":[{}]}}", rows.await?)))
}

/// Lists the models in memory, the one that stays longest first.
pub(crate) async fn ps(State(app): State<Arc<App>>) -> Reply {
    let seen = app.residency.seen();
    let rows =
        app.blocking(move |app| Ok(seen.iter().map(|seen| loaded(app, seen)).collect::<Vec<_>>()));
    Ok(answer(StatusCode::OK, &json!({ "models": rows.await? })))
}

fn loaded(app: &App, seen: &Seen) -> Value {
    let embedder = &seen.worker.embedder;
    json!({
        "name": seen.name.to_string(),
        "model": seen.name.to_string(),
        "size": seen.bytes,
        "digest": seen.digest.hex(),
        "details": Details::loaded(embedder.description()),
        "expires_at": time::rfc3339(time::expiry(seen.remaining)),
        "size_vram": 0,
        "context_length": embedding::limit(embedder, num_ctx(app, seen), app.config.context_length),
        "precision": embedder.description().precision.to_string(),
    })
}

/// Returns the context that the parameters of a loaded model ask for, unless it was deleted or replaced since.
fn num_ctx(app: &App, seen: &Seen) -> Option<usize> {
    let stored = app.store.find(&seen.name).ok().filter(|stored| stored.digest == seen.digest)?;
    let parameters = app.parameters(&stored.manifest).ok()?;
    usize::try_from(Recipe::from_parameters(&parameters).ok()?.num_ctx?).ok()
}

/// Gives a model a second name.
pub(crate) async fn copy(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.CopyRequest", &body)?;
    let source = object.string("source")?.unwrap_or_default();
    let destination = object.string("destination")?.unwrap_or_default();
    let from = valid(&source, || format!("source {} is invalid", human::quoted(&source)))?;
    let to =
        valid(&destination, || format!("destination {} is invalid", human::quoted(&destination)))?;
    let missing = format!("model {} not found", human::quoted(&source));
    app.blocking(move |app| Ok(app.store.copy(&from, &to)?)).await.map_err(
        |error| match error {
            Error::NotFound(_) => Error::NotFound(missing),
            other => other,
        },
    )?;
    Ok(StatusCode::OK.into_response())
}

/// Removes a model, and the blobs that no other needs.
pub(crate) async fn delete(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let text = model(&json::object("api.DeleteRequest", &body)?)?;
    if text.is_empty() {
        return Err(Error::BadRequest("model is required".to_owned()).into());
    }
    let name = valid(&text, || format!("name {} is invalid", human::quoted(&text)))?;
    app.blocking(move |app| Ok(app.store.remove(&name)?)).await.map_err(|error| match error {
        Error::NotFound(_) => Error::NotFound(format!("model '{text}' not found")),
        other => other,
    })?;
    Ok(StatusCode::OK.into_response())
}

fn valid(text: &str, problem: impl FnOnce() -> String) -> Result<Name, Error> {
    local_name(text).map_err(|error| match error {
        Error::BadRequest(_) => Error::BadRequest(problem()),
        other => other,
    })
}
