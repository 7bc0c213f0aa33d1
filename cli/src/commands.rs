//! Which commands there are.

mod completions;
mod cp;
mod create;
mod embed;
mod list;
mod load;
mod prune;
mod ps;
mod pull;
mod push;
mod rerank;
mod rm;
mod run;
mod save;
mod serve;
mod show;
mod stop;
mod verify;

use anyhow::Result;
use clap::Subcommand;

/// The table of commands; each has a file of its own name.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the service
    #[command(visible_alias = "start")]
    Serve(serve::Arguments),
    /// Create a model from a Modelfile
    Create(create::Arguments),
    /// Show information about a model
    Show(show::Arguments),
    /// Print the vector of a text
    Run(run::Arguments),
    /// Turn lines or JSONL into JSONL with vectors
    Embed(embed::Arguments),
    /// Sort lines by how well they answer a query
    Rerank(rerank::Arguments),
    /// Unload a model from memory
    Stop(stop::Arguments),
    /// Fetch a model
    Pull(pull::Arguments),
    /// Send a model to a registry
    Push(push::Arguments),
    /// Write models into one file, for machines without a network
    Save(save::Arguments),
    /// Take models out of a file that `save` wrote
    Load(load::Arguments),
    /// List the models on this machine
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    /// List the models in memory
    Ps(ps::Arguments),
    /// Copy a model
    Cp(cp::Arguments),
    /// Remove models
    Rm(rm::Arguments),
    /// Read all files of models and tell which are damaged
    Verify(verify::Arguments),
    /// Remove what nobody needs from the store
    Prune(prune::Arguments),
    /// Print the completions of a shell
    Completions(completions::Arguments),
}

impl Command {
    /// Runs the command to its end.
    pub(crate) async fn run(self) -> Result<()> {
        match self {
            Self::Serve(arguments) => serve::run(arguments).await,
            Self::Create(arguments) => create::run(arguments).await,
            Self::Show(arguments) => show::run(arguments).await,
            Self::Run(arguments) => run::run(arguments).await,
            Self::Embed(arguments) => embed::run(arguments).await,
            Self::Rerank(arguments) => rerank::run(arguments).await,
            Self::Stop(arguments) => stop::run(arguments).await,
            Self::Pull(arguments) => pull::run(arguments).await,
            Self::Push(arguments) => push::run(arguments).await,
            Self::Save(arguments) => save::run(arguments).await,
            Self::Load(arguments) => load::run(arguments).await,
            Self::List(arguments) => list::run(arguments).await,
            Self::Ps(arguments) => ps::run(arguments).await,
            Self::Cp(arguments) => cp::run(arguments).await,
            Self::Rm(arguments) => rm::run(arguments).await,
            Self::Verify(arguments) => verify::run(arguments).await,
            Self::Prune(arguments) => prune::run(arguments).await,
            Self::Completions(arguments) => completions::run(&arguments),
        }
    }
}
