//! How does a file come over HTTP, whatever the line does to it? Range, resume, retry, checked sizes.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use tokio::time::{sleep, timeout};

use super::Settings;
use crate::error::{Error, Result};
use crate::pull::Meter;
use crate::store::Staging;

/// Attempts in a row that bring nothing.
const IDLE_TRIES: u32 = 6;
/// Attempts in all; a line that breaks more often is not worth the wait.
const TRIES: u32 = 1_000;
/// The longest pause between two attempts, also when the server asks for a longer one.
const PAUSE_LIMIT: Duration = Duration::from_secs(20);

/// One file to download.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a Settings,
    pub(super) url: Url,
    /// The size, where it is known.
    pub(super) size: Option<u64>,
    /// The file in words, for errors.
    pub(super) what: String,
    /// The repository of the file.
    pub(super) repo: &'a str,
}

/// What an answer to a request is good for.
enum Answer {
    /// Its body continues what is there.
    Append,
    /// Its body is the whole file.
    Whole,
    /// Nothing, but asking again may help.
    Again { reason: String, pause: Option<Duration> },
    /// Nothing, and asking again from the start may help.
    FromStart,
}

/// How an attempt ended.
enum Outcome {
    Complete,
    Broken { reason: String, pause: Option<Duration> },
}

impl Download<'_> {
    /// Appends what is missing to the staging.
    pub(super) async fn run(&self, mut staging: Staging, meter: &mut Meter) -> Result<Staging> {
        if self.size.is_some_and(|size| size < staging.size()) {
            staging.restart()?;
        }
        let mut idle = 0;
        let mut reason = String::new();
        for _ in 0..TRIES {
            if idle == IDLE_TRIES {
                break;
            }
            let before = staging.size();
            if self.size == Some(before) {
                return Ok(staging);
            }
            let (returned, outcome) = self.attempt(staging, meter).await?;
            staging = returned;
            let Outcome::Broken { reason: broken, pause } = outcome else { return Ok(staging) };
            tracing::debug!(
                what = self.what,
                reason = broken,
                size = staging.size(),
                "transfer broke"
            );
            reason = broken;
            idle = if staging.size() > before { 0 } else { idle + 1 };
            sleep(pause.unwrap_or(self.settings.pause * 2_u32.pow(idle)).min(PAUSE_LIMIT)).await;
        }
        Err(Error::unreachable(&self.what, reason))
    }

    async fn attempt(&self, mut staging: Staging, meter: &mut Meter) -> Result<(Staging, Outcome)> {
        let have = staging.size();
        let mut request = authorised(self.client.get(self.url.clone()), self.settings)
            // A compressed body would not be the file.
            .header(ACCEPT_ENCODING, "identity");
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let response = match timeout(self.settings.stall, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Ok((staging, broken(root_cause(&error)))),
            Err(_) => return Ok((staging, broken("no answer"))),
        };
        match self.judge(&response, have)? {
            Answer::Append => {}
            Answer::Whole => staging.restart()?,
            Answer::FromStart => {
                staging.restart()?;
                return Ok((staging, broken("the server refused to resume")));
            }
            Answer::Again { reason, pause } => {
                return Ok((staging, Outcome::Broken { reason, pause }));
            }
        }
        self.receive(response, staging, meter).await
    }

    fn judge(&self, response: &Response, have: u64) -> Result<Answer> {
        let status = response.status();
        // A signed address of a content network may have expired; the next attempt gets a new one.
        let moved = response.url().host_str() != self.url.host_str();
        match status {
            StatusCode::PARTIAL_CONTENT if have > 0 => Ok(self.judge_range(response, have)),
            StatusCode::OK => Ok(Answer::Whole),
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => Ok(Answer::FromStart),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !moved => {
                Err(denied(&self.what, self.repo, response))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(Error::NotOffered(self.what.clone())),
            _ => Ok(Answer::Again { reason: status.to_string(), pause: retry_after(response) }),
        }
    }

    fn judge_range(&self, response: &Response, have: u64) -> Answer {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        match range.and_then(parse_range) {
            Some((start, total))
                if start == have && total.is_none_or(|t| self.size.is_none_or(|s| s == t)) =>
            {
                Answer::Append
            }
            _ => Answer::FromStart,
        }
    }

    async fn receive(
        &self,
        mut response: Response,
        staging: Staging,
        meter: &mut Meter,
    ) -> Result<(Staging, Outcome)> {
        let start = staging.size();
        let announced = self.size.or(response.content_length().map(|length| start + length));
        let pump = staging.pump();
        let mut size = start;
        let outcome = loop {
            let chunk = match timeout(self.settings.stall, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) if announced.is_none_or(|announced| announced == size) => {
                    break Outcome::Complete;
                }
                Ok(Ok(None)) => break broken("the transfer ended early"),
                Ok(Err(error)) => break broken(root_cause(&error)),
                Err(_) => break broken("the transfer stood still"),
            };
            size += chunk.len() as u64;
            if announced.is_some_and(|announced| size > announced) {
                return Err(Error::unreachable(
                    &self.what,
                    "it sends more bytes than it announced",
                ));
            }
            if !pump.send(chunk).await {
                break broken("the file could not be written");
            }
            meter.at(size);
        };
        Ok((pump.stop().await?, outcome))
    }
}

/// A request for a file that is held in memory.
pub(super) struct Small<'a> {
    pub(super) request: RequestBuilder,
    /// The file in words, for errors.
    pub(super) what: &'a str,
    /// The repository of the file.
    pub(super) repo: &'a str,
    /// The bytes that it may have.
    pub(super) limit: usize,
}

impl Small<'_> {
    /// Returns the bytes, which must all come within the time.
    pub(super) async fn fetch(self, time: Duration) -> Result<Vec<u8>> {
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
        let mut response = response.error_for_status().map_err(failed)?;
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
fn denied(what: &str, repo: &str, response: &Response) -> Error {
    match response.headers().get("x-error-code") {
        Some(code) if code == "GatedRepo" => Error::Gated(repo.to_owned()),
        _ => Error::Unauthorized(format!("{what}: {}", response.status())),
    }
}

/// Adds the token, which the client drops again when it is sent to another host.
pub(super) fn authorised(request: RequestBuilder, settings: &Settings) -> RequestBuilder {
    match &settings.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// Returns the innermost cause of an error, which is the part that says something.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
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

fn broken(reason: impl Into<String>) -> Outcome {
    Outcome::Broken { reason: reason.into(), pause: None }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Parses `bytes 5-9/10` into the start and the total, which may be `*`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for text in ["", "bytes */10", "5-9/10", "bytes x-9/10", "bytes 5"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}
