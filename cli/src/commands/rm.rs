//! `vecuna rm`: models leave this machine.

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::stop;
use crate::client::{Client, is_not_found};
use crate::{failure, output};

/// What is removed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The models to remove
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
}

/// Removes one model after the other; one that cannot be removed does not keep the rest.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client::connect().await?;
    let mut failed = None;
    for model in &arguments.models {
        match remove(&client, model).await {
            Ok(()) => output::line(&format!("deleted '{model}'"))?,
            // The last failure ends the command, so only those before it are told here.
            Err(error) => failed.replace(error).iter().for_each(failure::report),
        }
    }
    failed.map_or(Ok(()), Err)
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
