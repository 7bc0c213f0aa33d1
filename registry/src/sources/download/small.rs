//! How does a file come that is read into memory? At once, within a time, and no longer than it may be.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::sources::Settings;

/// A request for a file that is held in memory.
pub(in crate::sources) struct Small<'a> {
    pub(in crate::sources) request: RequestBuilder,
    /// The file in words, for errors.
    pub(in crate::sources) what: &'a str,
    /// The repository of the file.
    pub(in crate::sources) repo: &'a str,
    /// The bytes that it may have.
    pub(in crate::sources) limit: usize,
}

impl Small<'_> {
    /// Returns the bytes, which must all come within the time.
    pub(in crate::sources) async fn fetch(self, time: Duration) -> Result<Vec<u8>> {
        let what = self.what;
        let fetched = timeout(time, self.read()).await;
        fetched.unwrap_or_else(|_late| Err(Error::unreachable(what, "no answer")))
    }

    async fn read(self) -> Result<Vec<u8>> {
        let Self { request, what, repo, limit } = self;
        let failed = |error: reqwest::Error| failure(what, &error);
        let response = request.send().await.map_err(failed)?;
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(denied(what, repo, &response));
        }
        let response = response.error_for_status().map_err(failed)?;
        Self::body(response, what, limit).await
    }

    /// Returns the body of an answer, which may have so many bytes.
    pub(in crate::sources) async fn body(
        mut response: Response,
        what: &str,
        limit: usize,
    ) -> Result<Vec<u8>> {
        let failed = |error: reqwest::Error| failure(what, &error);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                return Err(Error::unreachable(what, format!("it is longer than {limit} bytes")));
            }
        }
        Ok(body)
    }
}

/// Says why the hub does not give a file; it lists the files of a gated repository to everybody.
pub(in crate::sources) fn denied(what: &str, repo: &str, response: &Response) -> Error {
    match response.headers().get("x-error-code") {
        Some(code) if code == "GatedRepo" => Error::Gated(repo.to_owned()),
        _ => Error::Unauthorized(format!("{what}: {}", response.status())),
    }
}

/// Adds the token, which the client drops again when it is sent to another host.
pub(in crate::sources) fn authorised(
    request: RequestBuilder,
    settings: &Settings,
) -> RequestBuilder {
    match &settings.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// Returns the innermost cause of an error, which is the part that says something.
pub(in crate::sources) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn failure(what: &str, error: &reqwest::Error) -> Error {
    match error.status() {
        Some(StatusCode::NOT_FOUND) => Error::NotOffered(what.to_owned()),
        Some(status) => Error::unreachable(what, status.to_string()),
        None => {
            Error::unreachable(what, error.source().map_or_else(|| error.to_string(), root_cause))
        }
    }
}
