//! `/api/blobs/:digest`: files that `create` will name, sent ahead.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::IntoResponse,
};
use http::StatusCode;
use modelfiles::Digest;

use super::Reply;
use crate::{Error, app::App, body};

/// Says whether a blob is there.
pub(crate) async fn check(State(app): State<Arc<App>>, Path(digest): Path<String>) -> Reply {
    let digest = parse(&digest)?;
    let there = app.blocking(move |app| Ok(app.store.size_of(&digest).is_some())).await?;
    Ok(if there { StatusCode::OK } else { StatusCode::NOT_FOUND }.into_response())
}

/// Takes a blob; its bytes must be what its digest says.
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
    request: Body,
) -> Reply {
    let digest = parse(&digest)?;
    if app.blocking(move |app| Ok(app.store.size_of(&digest).is_some())).await? {
        return Ok(StatusCode::OK.into_response());
    }
    let _place = app.uploads.acquire().await.map_err(|_closed| Error::Busy)?;
    let pump = app.blocking(move |app| Ok(app.store.stage(Some(digest))?.pump())).await?;
    let mut frames = request.into_data_stream();
    let mut pace = body::Pace::new();
    while let Some(frame) = body::next(&mut frames).await? {
        pace.count(frame.len())?;
        if !pump.send(frame).await {
            break;
        }
    }
    match pump.finish().await {
        Ok(_) => Ok(StatusCode::CREATED.into_response()),
        Err(registry::Error::DigestMismatch { want, got }) => {
            let text = format!("digest mismatch, expected \"{want}\", got \"{got}\"");
            Err(Error::BadRequest(text).into())
        }
        Err(error) => Err(error.into()),
    }
}

fn parse(text: &str) -> Result<Digest, Error> {
    Digest::parse(text).map_err(|error| Error::BadRequest(error.to_string()))
}
