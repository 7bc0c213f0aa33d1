//! What does a registry have? Ollama's, or any that speaks OCI's protocol.

use super::{Offer, Settings};
use crate::error::{Error, Result};

/// Reads the manifest of a tag.
pub(super) async fn resolve(
    _settings: &Settings,
    host: &str,
    repo: &str,
    tag: &str,
) -> Result<Offer> {
    Err(Error::NotOffered(format!("{host}/{repo}:{tag}")))
}
