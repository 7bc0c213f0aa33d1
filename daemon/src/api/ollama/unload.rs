//! `/api/generate` and `/api/chat`: embedding models do neither, but this is how clients unload one.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{body::Body, extract::State, response::Response};
use http::StatusCode;
use modelfiles::{KeepAlive, human};
use serde_json::{Value, json};

use super::{Reply, answer, bytes};
use crate::{
    Error,
    api::{json, time},
    app::{App, local_name},
};

/// Unloads with `keep_alive` 0 and no prompt, and refuses all else.
pub(crate) async fn generate(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.GenerateRequest", &body)?;
    let keep_alive = object.keep_alive("keep_alive")?;
    let model = object.string("model")?.unwrap_or_default();
    let empty = object.string("prompt")?.unwrap_or_default().is_empty();
    drop(object);
    if model.trim().is_empty() {
        return Err(Error::NotFound(format!("model '{model}' not found")).into());
    }
    unload(&app, &model, empty && is_zero(keep_alive), "generate").await?;
    Ok(done(&model, "response", json!("")))
}

/// Unloads with `keep_alive` 0 and no messages, and refuses all else.
pub(crate) async fn chat(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.ChatRequest", &body)?;
    let keep_alive = object.keep_alive("keep_alive")?;
    let model = object.string("model")?.unwrap_or_default();
    let messages = object.value("messages")?;
    let empty = messages.as_ref().and_then(Value::as_array).is_none_or(Vec::is_empty);
    drop(object);
    if model.is_empty() {
        return Err(Error::BadRequest("model is required".to_owned()).into());
    }
    unload(&app, &model, empty && is_zero(keep_alive), "chat").await?;
    Ok(done(&model, "message", json!({ "role": "assistant", "content": "" })))
}

/// Lets a model go if the request is one to do so.
async fn unload(app: &Arc<App>, model: &str, asked: bool, verb: &str) -> Result<(), Error> {
    local_name(model)?;
    let stored = app.find(model, || format!("model '{model}' not found")).await?;
    if !asked {
        let model = human::quoted(model);
        return Err(Error::BadRequest(format!("{model} does not support {verb}")));
    }
    app.residency.stop(stored.digest);
    Ok(())
}

fn is_zero(keep_alive: Option<KeepAlive>) -> bool {
    keep_alive == Some(KeepAlive::For(Duration::ZERO))
}

/// Answers that a model is on its way out; the order of the fields is Ollama's.
fn done(model: &str, key: &str, content: Value) -> Response {
    let created_at = time::rfc3339(SystemTime::now());
    let mut reply = json!({ "model": model, "created_at": created_at });
    reply[key] = content;
    reply["done"] = json!(true);
    reply["done_reason"] = json!("unload");
    answer(StatusCode::OK, &reply)
}
