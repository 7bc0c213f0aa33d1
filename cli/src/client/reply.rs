//! What came back for a request.

use std::fmt;

use anyhow::Result;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;

use super::body::Body;

/// The longest answer that is read at once: a full batch of the widest vectors is a tenth of it.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// An answer whose content has not been read yet.
pub(crate) struct Reply {
    response: Response<Body>,
}

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The server's own words.
    pub(crate) message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// Says whether the server found fault with the request.
pub(crate) fn is_bad_request(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_some_and(|refusal| refusal.status == StatusCode::BAD_REQUEST)
}

/// Says whether the server answered that it does not have what was asked for.
pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}

impl Reply {
    pub(super) fn new(response: Response<Body>) -> Self {
        Self { response }
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the size that the head tells of the content.
    pub(super) fn length(&self) -> Option<u64> {
        self.response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    pub(super) fn into_body(self) -> Body {
        self.response.into_body()
    }

    /// Reads the whole content.
    pub(crate) async fn bytes(self) -> Result<Bytes> {
        let body = Limited::new(self.response.into_body(), MAX_BYTES);
        Ok(body.collect().await.map_err(|error| anyhow::anyhow!(error))?.to_bytes())
    }

    /// Turns a status of 400 and above into a [`Refusal`].
    pub(crate) async fn checked(self) -> Result<Self> {
        let status = self.status();
        if status.as_u16() < 400 {
            return Ok(self);
        }
        let message = message(status, &self.bytes().await?);
        Err(Refusal { status, message }.into())
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

fn message(status: StatusCode, content: &[u8]) -> String {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(content) {
        return body.error;
    }
    let text = String::from_utf8_lossy(content);
    if text.trim().is_empty() { status.to_string() } else { text.trim().to_owned() }
}
