//! Progress that comes as one JSON object per line.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::body::Body;
use crate::failure::Failure;

/// A line of progress is a few hundred bytes; an error may quote a page.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// One step of something that takes long.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Event {
    /// What is being done.
    pub(crate) status: String,
    /// The blob it is done to.
    pub(crate) digest: Option<String>,
    /// How many bytes there are to do.
    pub(crate) total: Option<u64>,
    /// How many bytes are done.
    pub(crate) completed: Option<u64>,
    error: Option<String>,
    /// What else is told.
    #[serde(flatten)]
    pub(crate) more: serde_json::Map<String, serde_json::Value>,
}

impl Event {
    /// Returns a step of our own, without a size.
    pub(crate) fn new(status: impl Into<String>) -> Self {
        Self { status: status.into(), ..Self::default() }
    }
}

/// The events of one answer, in the order in which they happen.
pub(crate) struct Events {
    body: Body,
    buffer: BytesMut,
}

impl Events {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// Waits for the next event; `None` at the end, an error when the server reports one.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>> {
        while let Some(line) = self.line().await? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event: Event =
                serde_json::from_slice(&line).context("unexpected line in the answer")?;
            if let Some(error) = event.error {
                bail!(Failure::new(error));
            }
            return Ok(Some(event));
        }
        Ok(None)
    }

    async fn line(&mut self) -> Result<Option<Bytes>> {
        let mut searched = 0;
        loop {
            let end = self.buffer[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                return Ok(Some(self.buffer.split_to(searched + end + 1).freeze()));
            }
            searched = self.buffer.len();
            ensure!(searched <= MAX_LINE_BYTES, "line of more than {MAX_LINE_BYTES} bytes");
            let Some(frame) = self.body.frame().await else { break };
            let frame = frame.map_err(|error| anyhow::anyhow!(error));
            if let Ok(data) = frame.context("the answer broke off")?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
        let rest = self.buffer.split().freeze();
        Ok((!rest.is_empty()).then_some(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::body;
    use super::*;

    async fn statuses(content: &'static str) -> Vec<String> {
        let mut events = Events::new(body::from(content));
        let mut statuses = Vec::new();
        while let Some(event) = events.next().await.expect("event") {
            statuses.push(event.status);
        }
        statuses
    }

    #[tokio::test]
    async fn lines_may_be_blank_or_lack_a_newline() {
        let content = "{\"status\":\"a\"}\n\n{\"status\":\"b\"}\r\n{\"status\":\"c\"}";
        assert_eq!(statuses(content).await, ["a", "b", "c"]);
        assert!(statuses("").await.is_empty());
    }

    #[tokio::test]
    async fn a_broken_line_is_an_error() {
        assert!(Events::new(body::from("{\"status\":")).next().await.is_err());
    }
}
