//! `/api/pull` and `/api/push`: models from and to elsewhere.

use std::sync::Arc;

use axum::{body::Body, extract::State};
use modelfiles::Name;
use modelfiles::name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG};
use registry::{Options, Progress, Pulling, Stored};
use serde_json::{Value, json};

use super::{Reply, bytes, events, events::Events, model};
use crate::{
    Error,
    api::json::{self, Object},
    app::{App, local_name},
};

/// Pulls a model, or joins a pull of it that runs.
pub(crate) async fn pull(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.PullRequest", &body)?;
    let name = local_name(&model(&object)?)?;
    let streamed = object.boolean("stream")?.unwrap_or(true);
    let options = options(&object)?;
    drop(object);
    let name = app.blocking(move |app| Ok(spelled(app, name))).await?;
    events::answer(streamed, move |events| follow(app, name, options, events)).await
}

/// Returns what the request says beyond the name.
fn options(object: &Object<'_>) -> Result<Options, Error> {
    let is_on = |key| object.boolean(key).map(Option::unwrap_or_default);
    Ok(Options { insecure: is_on("insecure")?, dry_run: is_on("dry_run")? })
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
    let outcome = watch(app.puller.pull_with(&name, options), &events).await;
    match &outcome {
        Ok(Some(stored)) => tracing::info!(model = %stored.name, "pulled"),
        Ok(None) => {}
        Err(error) => tracing::warn!(model = %name, %error, "not pulled"),
    }
    outcome.map(drop)
}

/// Tells what happens until the end; nothing is done when nobody listens any more before that.
async fn watch(mut pulling: Pulling, events: &Events) -> Result<Option<Stored>, Error> {
    loop {
        let progress = tokio::select! {
            progress = pulling.next() => progress,
            () = events.gone() => return Ok(None),
        };
        let Some(progress) = progress else { break };
        events.tell(event(&progress)).await?;
    }
    let outcome = pulling.finish().await;
    outcome.map_err(|error| Error::Internal(error.to_string()))
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

/// Pushes a model to the registry that its name begins with.
pub(crate) async fn push(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.PushRequest", &body)?;
    let text = model(&object)?;
    if text.is_empty() {
        return Err(Error::BadRequest("model is required".to_owned()).into());
    }
    let streamed = object.boolean("stream")?.unwrap_or(true);
    let options = options(&object)?;
    drop(object);
    events::answer(streamed, move |events| async move {
        let Ok(name) = local_name(&text) else {
            let error = Error::Internal(format!("unqualified name: {}", filled(&text)));
            // In a stream Ollama answers 200 even when this is all that it has to say.
            let told = json!({ "error": error.to_string() });
            return if streamed { events.tell(told).await } else { Err(error) };
        };
        let outcome = watch(app.puller.push(&name, options), &events).await;
        match &outcome {
            Ok(Some(stored)) => tracing::info!(model = %stored.name, "pushed"),
            Ok(None) => {}
            Err(error) => tracing::warn!(model = %name, %error, "not pushed"),
        }
        outcome.map(drop)
    })
    .await
}

/// Returns the text of a name with the defaults of the parts that it leaves out, valid or not.
fn filled(text: &str) -> String {
    let tag = text.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
    let tag = if tag { String::new() } else { format!(":{DEFAULT_TAG}") };
    match text.matches('/').count() {
        0 => format!("{DEFAULT_HOST}/{DEFAULT_NAMESPACE}/{text}{tag}"),
        1 => format!("{DEFAULT_HOST}/{text}{tag}"),
        _ => format!("{text}{tag}"),
    }
}
