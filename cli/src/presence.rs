//! How a model gets onto this machine before it is used.

use anyhow::Result;
use http::Method;
use modelfiles::{Name, library, locality};
use serde_json::json;

use crate::advice;
use crate::client::{Client, is_not_found};
use crate::failure::Failure;
use crate::progress::Progress;

/// Whether a registry may be spoken to without encryption.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// As it should be.
    Required,
    /// As `--insecure` asks for.
    Optional,
}

impl From<bool> for Encryption {
    fn from(insecure: bool) -> Self {
        if insecure { Self::Optional } else { Self::Required }
    }
}

/// Pulls the model unless it is there.
pub(crate) async fn ensure(client: &Client, model: &str, encryption: Encryption) -> Result<()> {
    let shown = client.order(Method::POST, "/api/show", &json!({ "model": model })).await;
    match shown {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => {
            refuse_unsupported(model)?;
            pull(client, model, encryption).await
        }
        Err(error) => Err(error),
    }
}

/// Pulls the model and shows how that goes.
pub(crate) async fn pull(client: &Client, model: &str, encryption: Encryption) -> Result<()> {
    let insecure = encryption == Encryption::Optional;
    let request = json!({ "model": model, "insecure": insecure });
    let pulled =
        async { Progress::new().follow(client.events("/api/pull", &request).await?).await };
    pulled.await.map_err(|error| advice::on(error, model))
}

/// Says why a known model cannot run in this version, if it cannot.
pub(crate) fn unsupported(model: &str) -> Option<String> {
    let name = locality(model).and_then(|(name, _)| Name::parse(name));
    daemon::unsupported(&library::find(&name.ok()?)?)
}

/// Nobody wants to wait for gigabytes that cannot be used.
fn refuse_unsupported(model: &str) -> Result<()> {
    let Some(reason) = unsupported(model) else { return Ok(()) };
    let hint = format!("'vecuna pull {model}' fetches it all the same, for a later version");
    Err(Failure::new(reason).hint(hint).into())
}
