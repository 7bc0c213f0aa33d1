//! `vecuna pull`: a model comes onto this machine.

use anyhow::Result;
use modelfiles::human;
use serde_json::json;

use crate::client::{Client, Event};
use crate::{advice, output, presence, table};

/// What is pulled.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The model to fetch
    model: String,
    /// Let the registry be spoken to without encryption
    #[arg(long)]
    insecure: bool,
    /// Say what would be fetched, and how large it is
    #[arg(long)]
    dry_run: bool,
}

/// Pulls the model and shows how that goes.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client::connect().await?;
    if let Some(reason) = presence::unsupported(&arguments.model) {
        output::note(&format!("warning: {reason}"));
    }
    if arguments.dry_run {
        return rehearse(&client, &arguments).await;
    }
    presence::pull(&client, &arguments.model, arguments.insecure.into()).await
}

/// Prints a line for each file: what is missing of it, its whole size, and its path.
async fn rehearse(client: &Client, arguments: &Arguments) -> Result<()> {
    let Arguments { model, insecure, .. } = arguments;
    let request = json!({ "model": model, "insecure": insecure, "dry_run": true });
    let mut events = client.events("/api/pull", &request).await?;
    let mut rows = Vec::new();
    let mut last = String::new();
    loop {
        let event = events.next().await.map_err(|error| advice::on(error, model))?;
        let Some(Event { status, total, completed, .. }) = event else { break };
        match total {
            Some(total) => {
                let missing = total.saturating_sub(completed.unwrap_or(0));
                rows.push([human::bytes(missing), human::bytes(total), status]);
            }
            None => last = status,
        }
    }
    output::text(&table::with_header(["MISSING", "SIZE", "FILE"], &rows))?;
    output::line(&last)
}
