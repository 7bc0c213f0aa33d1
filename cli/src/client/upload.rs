//! How a file of this machine gets into the store of the service.

use std::path::Path;

use anyhow::{Context as _, Result};
use http::{Method, StatusCode};

use super::{Client, body};

impl Client {
    /// Sends the file unless the store has its digest already.
    pub(crate) async fn upload(&self, path: &Path, digest: &str, size_bytes: u64) -> Result<()> {
        let route = format!("/api/blobs/{digest}");
        let known = self.send(Method::HEAD, &route, body::empty()).await?.status();
        if known == StatusCode::OK {
            return Ok(());
        }
        let file = tokio::fs::File::open(path).await;
        let file = file.with_context(|| format!("cannot open '{}'", path.display()))?;
        let reply = self.send(Method::POST, &route, body::file(file, size_bytes)).await?;
        reply.checked().await?;
        Ok(())
    }
}
