//! What may be written after `vecuna` on a command line.

use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;

use crate::commands::Command;
use crate::failure::Failure;
use crate::output;

/// One small binary that gives every application on this machine text embeddings.
#[derive(Debug, Parser)]
#[command(name = "vecuna", disable_version_flag = true, after_long_help = daemon::config::help())]
pub(crate) struct Arguments {
    /// Show version information
    #[arg(short = 'v', long)]
    pub(crate) version: bool,
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Arguments {
    /// Reads the process's command line; `None` when a help text was asked for and has been shown.
    pub(crate) fn read() -> Result<Option<Self>> {
        match Self::try_parse() {
            Ok(arguments) => Ok(Some(arguments)),
            Err(error) if is_help(error.kind()) => output::text(&error.to_string()).map(|()| None),
            Err(error) => Err(refusal(&error).into()),
        }
    }
}

fn is_help(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// Turns clap's text into one of ours, which `main` prefixes with `Error: `.
fn refusal(error: &clap::Error) -> Failure {
    let text = error.to_string();
    Failure::new(text.strip_prefix("error: ").unwrap_or(&text).trim_end())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_parses() {
        for line in [
            "serve",
            "start",
            "pull all-minilm --insecure",
            "push a/b",
            "list",
            "ls all",
            "show m -v",
            "show m --license",
            "ps",
            "ps all",
            "stop m",
            "cp a b",
            "rm a b c",
            "create m -f Modelfile -q q8_0",
            "run m why is the sky blue",
            "run m --truncate --verbose hello",
            "run m --truncate=false --dimensions 64 --keepalive 5m --insecure hello",
            "embed m",
            "embed m a.txt b.jsonl --field body --no-truncate --dimensions 8 -o out.jsonl",
            "save a b -o models.tar",
            "load models.tar",
            "load -i models.tar",
            "completions bash",
            "-v",
            "--version",
            "",
        ] {
            let words = std::iter::once("vecuna").chain(line.split_whitespace());
            Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn wrong_lines_are_refused_in_our_words() {
        for (line, want) in [
            ("nope", "unrecognized subcommand 'nope'"),
            ("rm", "the following required arguments were not provided"),
            ("run m --truncate=maybe", "invalid value 'maybe'"),
        ] {
            let words = std::iter::once("vecuna").chain(line.split_whitespace());
            let error = Arguments::try_parse_from(words).expect_err(line);
            let text = refusal(&error).to_string();
            assert!(text.starts_with(want), "{line}: {text}");
        }
    }
}
