//! `vecuna cp`: a model gets a second name.

use anyhow::Result;
use http::Method;
use serde_json::json;

use crate::advice;
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
    let copied = Client::connect().await?.order(Method::POST, "/api/copy", &request).await;
    copied.map_err(|error| advice::on_form(error, &destination))?;
    output::line(&format!("copied '{source}' to '{destination}'"))
}
