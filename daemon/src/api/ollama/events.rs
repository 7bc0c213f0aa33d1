//! How a long piece of work tells its progress: JSON lines, or one answer at its end.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::{HeaderValue, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Failure, Reply};
use crate::{Error, api::json::to_go_json};

/// Lines that may wait for a slow reader before the work does.
const WAITING: usize = 16;

const PLAIN_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where a piece of work puts what it has to tell.
#[derive(Clone)]
pub(super) struct Events(mpsc::Sender<Result<Value, Error>>);

impl Events {
    /// Tells something; an error means that nobody listens any more.
    pub(super) async fn tell(&self, event: Value) -> Result<(), Error> {
        self.0.send(Ok(event)).await.map_err(|_gone| Error::Internal("request canceled".to_owned()))
    }

    /// Tells something from a thread that may block.
    pub(super) fn tell_blocking(&self, event: Value) -> Result<(), Error> {
        self.0
            .blocking_send(Ok(event))
            .map_err(|_gone| Error::Internal("request canceled".to_owned()))
    }

    /// Tells something that a later event makes worthless, unless the listener has fallen behind.
    pub(super) fn mention(&self, event: Value) {
        self.0.try_send(Ok(event)).ok();
    }

    /// Tells a status.
    pub(super) async fn status(&self, status: impl Into<String>) -> Result<(), Error> {
        self.tell(json!({ "status": status.into() })).await
    }

    /// Returns when nobody listens any more.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// Runs a piece of work and answers with its events as a stream, or with the last one.
pub(super) async fn answer<F>(streamed: bool, work: impl FnOnce(Events) -> F) -> Reply
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (sender, mut events) = mpsc::channel(WAITING);
    let work = work(Events(sender.clone()));
    // The work ends early when its events find no listener.
    tokio::spawn(async move {
        if let Err(error) = work.await {
            drop(sender.send(Err(error)).await);
        }
    });
    Ok(if streamed { lines(events).await } else { last(&mut events).await })
}

/// Returns the stream. A failure that comes before anything else still has a status of its own.
async fn lines(mut events: mpsc::Receiver<Result<Value, Error>>) -> Response {
    let first = match events.recv().await {
        Some(Err(error)) => return failure(error),
        first => first,
    };
    let state = (first, events);
    let lines = stream::unfold(state, async |(next, mut events)| {
        let line = line(next?);
        let next = events.recv().await;
        Some((Ok::<_, Infallible>(line), (next, events)))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn line(event: Result<Value, Error>) -> Bytes {
    let event = event.unwrap_or_else(|error| json!({ "error": error.to_string() }));
    Bytes::from(to_go_json(&event) + "\n")
}

/// Waits for the end.
async fn last(events: &mut mpsc::Receiver<Result<Value, Error>>) -> Response {
    let mut last = Value::Null;
    while let Some(event) = events.recv().await {
        match event {
            Ok(event) => last = event,
            Err(error) => return failure(error),
        }
    }
    ([(CONTENT_TYPE, PLAIN_JSON)], to_go_json(&last)).into_response()
}

fn failure(error: Error) -> Response {
    let mut response = Failure(error).into_response();
    response.headers_mut().insert(CONTENT_TYPE, PLAIN_JSON);
    response
}
