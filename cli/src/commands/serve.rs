//! `vecuna serve`: the service itself.

use anyhow::Result;
use daemon::Config;

/// The service takes its settings from the environment and its configuration file.
#[derive(Debug, clap::Args)]
#[command(after_help = daemon::config::help())]
pub(crate) struct Arguments {}

/// Serves until a signal ends it.
pub(crate) async fn run(_: Arguments) -> Result<()> {
    Ok(daemon::serve(Config::from_environment()?).await?)
}
