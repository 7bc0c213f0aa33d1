//! `vecuna cp`: a model gets a second name.

use anyhow::Result;
use http::Method;
use serde_json::json;

use crate::client::Client;
use crate::output;

/// What is copied where.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The model to copy
    source: String,
    /// The name of the copy
    destination: String,
}

/// Copies the model and says so.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { source, destination } = arguments;
    let request = json!({ "source": source, "destination": destination });
    Client::connect().await?.order(Method::POST, "/api/copy", &request).await?;
    output::line(&format!("copied '{source}' to '{destination}'"))
}
