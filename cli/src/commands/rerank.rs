//! `vecuna rerank`: which lines answer a query best, by a model that reads both at once.

use std::path::PathBuf;

use anyhow::Result;
use http::Method;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::client::Client;
use crate::texts::{Format, Texts};
use crate::{output, presence};

/// Lines that one request may hold: a person reads fewer, and a program asks the service.
const MOST_LINES: usize = 10_000;

/// Which query, which documents, and how many of the best.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The reranker to use; it is fetched when it is not there
    model: String,
    /// What the documents shall answer
    query: String,
    /// A file with a document on each line; standard input by default
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Print only the best so many
    #[arg(long, short = 'n', value_name = "N")]
    top: Option<usize>,
    /// Say what the query is there for, to a model that is told so
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Print the numbers of the model itself
    #[arg(long)]
    raw: bool,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Ranked>,
}

#[derive(Deserialize)]
struct Ranked {
    index: usize,
    relevance_score: Box<RawValue>,
}

/// Prints score and document, a tab between them, the best first.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let documents = documents(&arguments)?;
    let client = Client::connect().await?;
    presence::ensure(&client, &arguments.model, false.into()).await?;
    let request = json!({
        "model": arguments.model,
        "query": arguments.query,
        "instruction": arguments.instruction,
        "documents": documents,
        "top_n": arguments.top,
        "raw_scores": arguments.raw,
    });
    let answer: Answer = client.ask(Method::POST, "/api/rerank", &request).await?;
    for Ranked { index, relevance_score } in &answer.results {
        if let Some(document) = documents.get(*index) {
            output::line(&format!("{}\t{document}", relevance_score.get()))?;
        }
    }
    Ok(())
}

fn documents(arguments: &Arguments) -> Result<Vec<String>> {
    let mut texts = Texts::open(&arguments.file, Format::Lines)?;
    let mut documents = Vec::new();
    while let Some(text) = texts.next()? {
        anyhow::ensure!(documents.len() < MOST_LINES, "more than {MOST_LINES} lines");
        documents.push(text.text);
    }
    Ok(documents)
}
