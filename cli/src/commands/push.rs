//! `vecuna push`: a model goes to a registry.

use anyhow::Result;
use serde_json::json;

use crate::advice;
use crate::client::Client;
use crate::failure::Failure;
use crate::progress::Progress;

/// What is pushed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The model to send
    model: String,
    /// Let the registry be spoken to without encryption
    #[arg(long)]
    insecure: bool,
}

/// Pushes the model and shows how that goes.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client::connect().await?;
    let request = json!({ "model": arguments.model, "insecure": arguments.insecure });
    let events = client.events("/api/push", &request).await?;
    let pushed = Progress::new().follow(events).await.map_err(explain);
    pushed.map_err(|error| advice::on(error, &arguments.model))
}

/// A registry only says that access is denied, not what would be allowed.
fn explain(error: anyhow::Error) -> anyhow::Error {
    if !error.to_string().contains("access denied") {
        return error;
    }
    let message = format!(
        "you are not authorized to push to this namespace, create the model under a namespace you own ({error})"
    );
    Failure::new(message).into()
}
