//! How a request body is read: within a size, and from a client that keeps sending.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::Error;

/// How long a client may pause inside a body.
const PAUSE: Duration = Duration::from_secs(30);

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, Error> {
    let mut frames = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(frame) = next(&mut frames).await? {
        if whole.len() + frame.len() > limit {
            return Err(Error::TooLarge(limit));
        }
        whole.extend_from_slice(&frame);
    }
    Ok(whole.freeze())
}

/// Returns the next part of a body; none at its end.
pub(crate) async fn next(frames: &mut BodyDataStream) -> Result<Option<Bytes>, Error> {
    let frame = tokio::time::timeout(PAUSE, frames.next()).await.map_err(|_elapsed| Error::Slow)?;
    frame.transpose().map_err(|_cut| Error::BadRequest("unexpected EOF".to_owned()))
}
