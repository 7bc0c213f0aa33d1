//! `/api/pull` and `/api/push`: models from and to elsewhere.

use std::sync::Arc;

use axum::{body::Body, extract::State};
use modelfiles::Name;
use registry::{Options, Progress};
use serde_json::{Value, json};

use super::{Reply, bytes, events, events::Events, model};
use crate::{
    Error,
    api::json,
    app::{App, local_name},
};

/// Pulls a model, or joins a pull of it that runs.
pub(crate) async fn pull(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.PullRequest", &body)?;
    let name = local_name(&model(&object)?)?;
    let streamed = object.boolean("stream")?.unwrap_or(true);
    let is_on = |key| object.boolean(key).map(Option::unwrap_or_default);
    let options = Options { insecure: is_on("insecure")?, dry_run: is_on("dry_run")? };
    drop(object);
    let name = app.blocking(move |app| Ok(spelled(app, name))).await?;
    events::answer(streamed, move |events| follow(app, name, options, events)).await
}

/// Returns the name as the model that has it already spells it.
fn spelled(app: &App, name: Name) -> Name {
    app.store.find(&name).map_or(name, |stored| stored.name)
}

/// Tells the progress of a pull until it ends or nobody listens; the last listener's going ends it.
pub(super) async fn follow(
    app: Arc<App>,
    name: Name,
    options: Options,
    events: Events,
) -> Result<(), Error> {
    let mut pulling = app.puller.pull_with(&name, options);
    loop {
        let progress = tokio::select! {
            progress = pulling.next() => progress,
            () = events.gone() => return Ok(()),
        };
        let Some(progress) = progress else { break };
        events.tell(event(&progress)).await?;
    }
    match pulling.finish().await {
        Ok(stored) => {
            if let Some(stored) = stored {
                tracing::info!(model = %stored.name, "pulled");
            }
            Ok(())
        }
        Err(error) => {
            tracing::warn!(model = %name, %error, "not pulled");
            Err(Error::Internal(error.to_string()))
        }
    }
}

/// Returns progress as Ollama words it: a number that is not known, or 0 done, is left out.
pub(super) fn event(progress: &Progress) -> Value {
    let mut event = json!({ "status": progress.status });
    if let Some(digest) = progress.digest {
        event["digest"] = json!(digest.to_string());
    }
    if let Some(total) = progress.total {
        event["total"] = json!(total);
    }
    if let Some(completed) = progress.completed.filter(|completed| *completed > 0) {
        event["completed"] = json!(completed);
    }
    event
}

/// Answers that pushing is not there yet.
pub(crate) async fn push(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let text = model(&json::object("api.PushRequest", &body)?)?;
    if text.is_empty() {
        return Err(Error::BadRequest("model is required".to_owned()).into());
    }
    Err(Error::NotImplemented("push is not supported in this version".to_owned()).into())
}
