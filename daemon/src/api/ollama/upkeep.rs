//! `/api/verify` and `/api/prune`: is the store whole, and what lies in it for nothing?

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, extract::State};
use http::StatusCode;
use modelfiles::{Digest, Name};
use registry::{Amount, Kept, Layer, Prune, Stored};
use serde_json::{Value, json};

use super::{Reply, answer, archive, bytes, events, events::Events, model};
use crate::{
    Error,
    api::json,
    app::{App, local_name},
};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// Reads every file of a model, or of all of them, and tells which are damaged.
pub(crate) async fn verify(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.VerifyRequest", &body)?;
    let text = model(&object)?;
    let name = if text.is_empty() { None } else { Some(local_name(&text)?) };
    let streamed = object.boolean("stream")?.unwrap_or(true);
    drop(object);
    let place = archive::place(&app).await?;
    let work = move |events| async move {
        app.blocking(move |app| {
            let _place = place;
            Check::new(app, &events).all(name.as_ref())
        })
        .await
    };
    events::answer(streamed, work).await
}

/// What was found so far.
struct Check<'a> {
    app: &'a App,
    events: &'a Events,
    /// What is wrong with each blob that was read; models share blobs.
    blobs: HashMap<Digest, Option<String>>,
    models: usize,
    bytes: u64,
    damaged: usize,
}

impl<'a> Check<'a> {
    fn new(app: &'a App, events: &'a Events) -> Self {
        Self { app, events, blobs: HashMap::new(), models: 0, bytes: 0, damaged: 0 }
    }

    fn all(mut self, name: Option<&Name>) -> Result<(), Error> {
        let names = name.map_or_else(|| self.app.store.names(), |name| Ok(vec![name.clone()]))?;
        for each in &names {
            match self.app.store.find(each) {
                Ok(stored) => self.model(&stored)?,
                Err(registry::Error::NotFound(_)) if name.is_none() => {}
                Err(error @ registry::Error::NotFound(_)) => return Err(error.into()),
                Err(error) => {
                    self.models += 1;
                    self.damage(json!({ "model": each.to_string() }), &error.to_string())?;
                }
            }
        }
        self.events.tell_blocking(json!({
            "status": "verified",
            "models": self.models,
            "files": self.blobs.len(),
            "bytes": self.bytes,
            "damaged": self.damaged,
        }))
    }

    fn model(&mut self, stored: &Stored) -> Result<(), Error> {
        self.models += 1;
        for layer in stored.manifest.blobs() {
            let reason = match self.blobs.get(&layer.digest) {
                Some(reason) => reason.clone(),
                None => self.blob(layer)?,
            };
            let Some(reason) = reason else { continue };
            let file = layer.name.as_ref().unwrap_or(&layer.media_type);
            let digest = layer.digest.to_string();
            let about = json!({ "model": stored.name.to_string(), "file": file, "digest": digest });
            self.damage(about, &reason)?;
        }
        Ok(())
    }

    /// Reads a blob, and returns what is wrong with it.
    fn blob(&mut self, layer: &Layer) -> Result<Option<String>, Error> {
        let event = |completed: u64| {
            let mut event = json!({
                "status": format!("verifying {}", layer.digest.short()),
                "digest": layer.digest.to_string(),
                "total": layer.size,
            });
            if completed > 0 {
                event["completed"] = json!(completed);
            }
            event
        };
        let mut told = Instant::now();
        let mut progress = |read| {
            if told.elapsed() < TICK {
                return true;
            }
            told = Instant::now();
            self.events.tell_blocking(event(read)).is_ok()
        };
        let reason = match self.app.store.inspect(layer, &mut progress) {
            Err(registry::Error::Cancelled) => {
                return Err(registry::Error::Cancelled.into());
            }
            inspected => inspected.err().map(|error| error.to_string()),
        };
        if reason.is_none() {
            self.events.tell_blocking(event(layer.size))?;
            self.bytes = self.bytes.saturating_add(layer.size);
        }
        self.blobs.insert(layer.digest, reason.clone());
        Ok(reason)
    }

    fn damage(&mut self, mut about: Value, reason: &str) -> Result<(), Error> {
        self.damaged += 1;
        about["status"] = json!("damaged");
        about["reason"] = json!(reason);
        self.events.tell_blocking(about)
    }
}

/// Removes what nobody needs, or tells what that would be.
pub(crate) async fn prune(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.PruneRequest", &body)?;
    let flag = |name| Ok::<_, Error>(object.boolean(name)?.unwrap_or(false));
    let wanted = Prune { dry_run: flag("dry_run")?, all: flag("all")? };
    drop(object);
    let pruned = app.blocking(move |app| Ok(app.store.prune(wanted)?)).await?;
    let amount = |amount: Amount| json!({ "count": amount.count, "bytes": amount.bytes });
    let mut told = json!({
        "partials": amount(pruned.partials),
        "temporary": amount(pruned.temporary),
        "orphans": amount(pruned.orphans),
    });
    if let Some(kept) = pruned.kept {
        told["kept"] = json!(match kept {
            Kept::Foreign => "foreign",
            Kept::Unreadable => "unreadable",
        });
    }
    Ok(answer(StatusCode::OK, &told))
}
