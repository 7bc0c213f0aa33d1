//! `vecuna rm`: models leave this machine.

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::stop;
use crate::client::{Client, is_not_found};
use crate::output;

/// What is removed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The models to remove
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
}

/// Removes one model after the other, up to the first that cannot be removed.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client::connect().await?;
    for model in &arguments.models {
        remove(&client, model).await?;
        output::line(&format!("deleted '{model}'"))?;
    }
    Ok(())
}

async fn remove(client: &Client, model: &str) -> Result<()> {
    if let Err(error) = stop::unload(client, model).await
        && !is_not_found(&error)
    {
        output::note(&format!("Warning: unable to stop model '{model}'"));
    }
    client.order(Method::DELETE, "/api/delete", &json!({ "model": model })).await?;
    Ok(())
}
