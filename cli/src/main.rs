//! Which command was asked for, and how the process ends.

mod advice;
mod arguments;
mod client;
mod commands;
mod description;
mod embedding;
mod failure;
mod images;
mod import;
mod moment;
mod output;
mod presence;
mod progress;
mod prompt;
mod sink;
mod table;
mod texts;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::CommandFactory as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Arguments;
use crate::commands::Command;

/// The signal of a file that grows beyond `ulimit -f`, on Linux and macOS alike.
const SIGXFSZ: i32 = 25;
/// What a command has begun in the background, such as a file that is being written, may come to its end this long.
const END_LIMIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<output::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            failure::report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(arguments) = Arguments::read()? else { return Ok(()) };
    if arguments.version {
        return output::line(concat!("vecuna version is ", env!("CARGO_PKG_VERSION")));
    }
    match arguments.command {
        Some(command) => run_command(command),
        None => output::text(&Arguments::command().render_help().to_string()),
    }
}

fn run_command(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        // A limit of file sizes is an error of the write, not the end of the process.
        let _limit = signal(SignalKind::from_raw(SIGXFSZ));
        command.run().await
    });
    // A process that ended at once would leave the files behind that a failed pull was writing.
    runtime.shutdown_timeout(END_LIMIT);
    result
}
