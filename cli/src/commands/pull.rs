//! `vecuna pull`: a model comes onto this machine.

use anyhow::Result;

use crate::client::Client;
use crate::{output, presence};

/// What is pulled.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The model to fetch
    model: String,
    /// Let the registry be spoken to without encryption
    #[arg(long)]
    insecure: bool,
}

/// Pulls the model and shows how that goes.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client::connect().await?;
    if let Some(reason) = presence::unsupported(&arguments.model) {
        output::note(&format!("warning: {reason}"));
    }
    presence::pull(&client, &arguments.model, arguments.insecure.into()).await
}
