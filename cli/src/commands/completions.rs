//! `vecuna completions SHELL`: what a shell needs to complete our commands.

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::output;

/// Which shell asks.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell to complete in
    shell: Shell,
}

/// Prints the script to standard output.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut script = Vec::new();
    let mut command = crate::arguments::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "vecuna", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_gets_a_script() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            let mut command = crate::arguments::Arguments::command();
            clap_complete::generate(*shell, &mut command, "vecuna", &mut script);
            assert!(script.len() > 1000, "{shell}");
        }
    }
}
