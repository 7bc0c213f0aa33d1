//! `vecuna show`: what a model is.

use anyhow::Result;
use http::Method;
use serde_json::json;

use crate::advice;
use crate::client::Client;
use crate::description::{self, Detail, Model};
use crate::output;

/// Which model, and which part of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The model to show
    model: String,
    #[command(flatten)]
    section: Section,
    /// Show all metadata too, and the tensors where the service lists them
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, clap::Args)]
struct Section {
    /// Show only the licence
    #[arg(long)]
    license: bool,
    /// Show only the Modelfile
    #[arg(long)]
    modelfile: bool,
    /// Show only the parameters
    #[arg(long)]
    parameters: bool,
    /// Show only the template
    #[arg(long)]
    template: bool,
    /// Show only the system message
    #[arg(long)]
    system: bool,
}

/// Prints the model or the part that was asked for.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { model, section, verbose } = arguments;
    section.check()?;
    let client = Client::connect().await?;
    let request = json!({ "model": model, "verbose": verbose });
    let shown = client.ask(Method::POST, "/api/show", &request).await;
    let shown: Model = shown.map_err(|error| advice::on(error, &model))?;
    if let Some(text) = section.of(&shown) {
        return output::line(text);
    }
    let detail = if verbose { Detail::Everything } else { Detail::Summary };
    output::text(&description::render(&shown, detail))
}

impl Section {
    fn check(&self) -> Result<()> {
        let flags = [self.license, self.modelfile, self.parameters, self.template, self.system];
        anyhow::ensure!(
            flags.iter().filter(|set| **set).count() <= 1,
            "only one of '--license', '--modelfile', '--parameters', '--system', \
            or '--template' can be specified"
        );
        Ok(())
    }

    fn of<'a>(&self, model: &'a Model) -> Option<&'a str> {
        let parts = [
            (self.license, &model.license),
            (self.modelfile, &model.modelfile),
            (self.parameters, &model.parameters),
            (self.template, &model.template),
            (self.system, &model.system),
        ];
        parts.into_iter().find_map(|(wanted, text)| wanted.then_some(text.as_str()))
    }
}
