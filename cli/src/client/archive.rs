//! How models in one file pass between the service and this machine.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;

use super::body::{self, Body};
use super::{Client, Events};

/// An archive as it comes in.
pub(crate) struct Download {
    body: Body,
    /// The size, where the service tells it.
    pub(crate) size_bytes: Option<u64>,
}

impl Client {
    /// Asks for an archive of models.
    pub(crate) async fn save(&self, models: &[String]) -> Result<Download> {
        let request = body::json(&json!({ "models": models }))?;
        let reply = self.send(Method::POST, "/api/save", request).await?;
        let reply = reply.checked().await?;
        Ok(Download { size_bytes: reply.length(), body: reply.into_body() })
    }

    /// Sends an archive; one whose size is not known ends with its file.
    pub(crate) async fn load(
        &self,
        file: tokio::fs::File,
        size_bytes: Option<u64>,
    ) -> Result<Events> {
        let body = match size_bytes {
            Some(size_bytes) => body::file(file, size_bytes),
            None => body::pipe(file),
        };
        let reply = self.send(Method::POST, "/api/load", body).await?;
        Ok(Events::new(reply.checked().await?.into_body()))
    }
}

impl Download {
    /// Waits for the next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| anyhow::anyhow!(error));
            if let Ok(bytes) = frame.context("the archive broke off")?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
