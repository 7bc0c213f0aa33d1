//! `/api/save` and `/api/load`: models in one file, for machines that reach no other.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::State,
    response::IntoResponse,
};
use futures_util::{StreamExt as _, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use modelfiles::Name;
use registry::{Inlet, Outlet, Progress};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Reply, bytes, events, events::Events, pull};
use crate::{
    Error,
    api::json,
    app::{App, local_name},
    body,
};

const TAR: &str = "application/x-tar";
/// How long the rest of a refused archive is still taken, so that its sender reads why before the connection ends.
const LINGER: Duration = Duration::from_secs(5);

/// Answers with an archive of models.
pub(crate) async fn save(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let models = json::object("api.SaveRequest", &body)?.strings("models")?.unwrap_or_default();
    if models.is_empty() {
        return Err(Error::BadRequest("models is required".to_owned()).into());
    }
    let names = models.iter().map(|text| local_name(text)).collect::<Result<Vec<Name>, _>>()?;
    drop(body);
    let packed = app.blocking(move |app| Ok(app.store.pack(&names)?)).await?;
    let length = packed.size_bytes();
    let place = place(&app).await?;
    let (mut outlet, chunks) = Outlet::new();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        if let Err(error) = packed.write(&mut outlet) {
            tracing::warn!(%error, "not saved");
            outlet.fail(io::Error::other(error));
        }
    });
    let chunks = stream::unfold(chunks, async |mut chunks| Some((chunks.recv().await?, chunks)));
    let headers = [(CONTENT_TYPE, TAR.to_owned()), (CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Takes an archive, and tells what becomes of it.
pub(crate) async fn load(State(app): State<Arc<App>>, request: Body) -> Reply {
    let place = place(&app).await?;
    let (sender, inlet) = Inlet::new();
    tokio::spawn(feed(request.into_data_stream(), sender));
    events::answer(true, |events| unpack(app, inlet, place, events)).await
}

pub(super) async fn place(app: &App) -> Result<OwnedSemaphorePermit, Error> {
    Arc::clone(&app.uploads).acquire_owned().await.map_err(|_closed| Error::Busy)
}

/// Passes a body on, and after a refusal takes the rest for a moment.
async fn feed(mut frames: BodyDataStream, sender: mpsc::Sender<io::Result<Bytes>>) {
    let mut pace = body::Pace::new();
    loop {
        let next = body::next(&mut frames).await;
        let next = next.and_then(|frame| {
            pace.count(frame.as_ref().map_or(usize::MAX, |frame| frame.len())).map(|()| frame)
        });
        let (frame, is_last) = match next {
            Ok(Some(frame)) => (Ok(frame), false),
            Ok(None) => return,
            Err(error) => (Err(io::Error::other(error)), true),
        };
        if sender.send(frame).await.is_err() {
            break;
        }
        if is_last {
            return;
        }
    }
    let rest = async { while frames.next().await.is_some_and(|frame| frame.is_ok()) {} };
    tokio::time::timeout(LINGER, rest).await.ok();
}

async fn unpack(
    app: Arc<App>,
    inlet: Inlet,
    place: OwnedSemaphorePermit,
    events: Events,
) -> Result<(), Error> {
    let unpacked = app.blocking(move |app| {
        let _place = place;
        let mut tell = |progress: Progress| match progress.digest {
            // While bytes come in, the sender may not read what is told.
            Some(_) => events.mention(pull::event(&progress)),
            // What was sent is stored whether or not anybody listens.
            None => drop(events.tell_blocking(pull::event(&progress))),
        };
        let models = app.store.unpack(inlet, &mut tell).map_err(refusal)?;
        models.iter().for_each(|model| tracing::info!(model = %model.name, "loaded from archive"));
        Ok(())
    });
    unpacked.await.inspect_err(|error| tracing::warn!(%error, "archive not loaded"))
}

/// Tells what is wrong with an archive from what is wrong here.
fn refusal(error: registry::Error) -> Error {
    match error {
        registry::Error::Unusable(_)
        | registry::Error::Corrupt(_)
        | registry::Error::MissingBlob(_)
        | registry::Error::DigestMismatch { .. } => Error::BadRequest(error.to_string()),
        error => error.into(),
    }
}
