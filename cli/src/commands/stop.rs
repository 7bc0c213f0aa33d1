//! `vecuna stop`: a model leaves memory.

use anyhow::Result;
use http::Method;
use modelfiles::human;
use serde_json::json;

use crate::client::{Client, is_not_found};
use crate::failure::Failure;

/// What is stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The model to unload
    model: String,
}

/// Unloads the model as soon as it is idle.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client::connect().await?;
    match unload(&client, &arguments.model).await {
        Err(error) if is_not_found(&error) => {
            let name = human::quoted(&arguments.model);
            Err(Failure::new(format!("couldn't find model {name} to stop")).into())
        }
        other => other,
    }
}

/// Asks for the model to be unloaded.
pub(crate) async fn unload(client: &Client, model: &str) -> Result<()> {
    let request = json!({ "model": model, "keep_alive": 0 });
    client.order(Method::POST, "/api/generate", &request).await?;
    Ok(())
}
