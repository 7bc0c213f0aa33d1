//! `vecuna save`: models go into one file.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::Result;

use crate::client::{Client, Event};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::sink::Sink;

/// What is saved where.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The models to save
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// The file to write; - or none is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes an archive of the models, which appears when it is whole.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let output = arguments.output.filter(|path| path.as_os_str() != "-");
    if output.is_none() && io::stdout().is_terminal() {
        let failure = Failure::new("an archive is not for a terminal");
        return Err(failure.hint("name a file with -o, or send it into a pipe").into());
    }
    let mut download = Client::connect().await?.save(&arguments.models).await?;
    let mut sink = Sink::open(output.as_deref())?;
    let mut progress = Progress::new();
    let mut event = Event::new("saving");
    event.total = download.size_bytes;
    let mut written = 0;
    while let Some(bytes) = download.next().await? {
        sink.write_bytes(&bytes)?;
        written += bytes.len() as u64;
        event.completed = Some(written);
        progress.show(&event);
    }
    sink.finish()?;
    progress.show(&Event::new("success"));
    Ok(())
}
