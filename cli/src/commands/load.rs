//! `vecuna load`: models come out of one file.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::client::Client;
use crate::failure::Failure;
use crate::progress::Progress;

/// What is loaded.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The archive; - or none is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same, as docker spells it
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    input: Option<PathBuf>,
}

/// Sends the archive to the store and shows how that goes.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let path = arguments.file.or(arguments.input).filter(|path| path.as_os_str() != "-");
    let file = match &path {
        Some(path) => open(path)?,
        None => standard_input()?,
    };
    // A pipe or a device has no size that could be trusted.
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        let failure = Failure::new("the archive is a folder");
        return Err(failure.hint("an archive is one file, as 'vecuna save' writes it").into());
    }
    let size_bytes = (path.is_some() && metadata.is_file()).then_some(metadata.len());
    let file = tokio::fs::File::from_std(file);
    let events = Client::connect().await?.load(file, size_bytes).await?;
    Progress::new().follow(events).await
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read '{}'", path.display()))
}

fn standard_input() -> Result<File> {
    if io::stdin().is_terminal() {
        let failure = Failure::new("there is no archive");
        return Err(failure.hint("name its file, or send it into a pipe").into());
    }
    let input = io::stdin().as_fd().try_clone_to_owned().context("cannot read standard input")?;
    Ok(File::from(input))
}
