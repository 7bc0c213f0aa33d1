//! `vecuna run`: one text becomes one vector on standard output.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::client::Client;
use crate::embedding::{self, Answer, Cuts, Request};
use crate::failure::Failure;
use crate::{output, presence, prompt};

/// Which text, which model, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The model to use; it is fetched when it is not there
    model: String,
    /// The text; what is piped in comes before it
    prompt: Vec<String>,
    /// How long the model stays in memory, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = embedding::keep_alive)]
    keepalive: Option<String>,
    /// Tell how long it took
    #[arg(long)]
    verbose: bool,
    /// Let the registry be spoken to without encryption
    #[arg(long)]
    insecure: bool,
    /// Whether to cut a text that is too long instead of refusing it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = boolean)]
    truncate: Option<bool>,
    /// Cut the vector to this many numbers
    #[arg(long, value_name = "N")]
    dimensions: Option<i64>,
    #[command(flatten)]
    ignored: Ignored,
}

/// What Ollama's command takes for models that write texts.
#[derive(Debug, clap::Args)]
struct Ignored {
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    nowordwrap: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    think: Option<String>,
    #[arg(long, hide = true)]
    hidethinking: bool,
}

/// Prints the vector as one JSON array.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let input = prompt::read(&arguments.prompt).await?;
    let model = &arguments.model;
    if input.is_empty() {
        let message = "embedding models require input text";
        let usage = format!("{message}. Usage: vecuna run {model} \"your text here\"");
        return Err(Failure::new(usage).into());
    }
    let client = Client::connect().await?;
    presence::ensure(&client, model, arguments.insecure.into()).await?;
    let answer = request(&arguments, &input).send(&client).await?;
    output::line(
        &answer.vectors().next().context("the model gives no dense vector; try 'vecuna embed'")?,
    )?;
    let mut cuts = Cuts::default();
    cuts.add(&answer);
    cuts.note().iter().for_each(|note| output::note(note));
    if arguments.verbose {
        output::note(&durations(&answer));
    }
    Ok(())
}

fn request<'a>(arguments: &'a Arguments, input: &'a str) -> Request<'a> {
    Request {
        model: &arguments.model,
        input: vec![input],
        truncate: arguments.truncate,
        dimensions: arguments.dimensions,
        keep_alive: arguments.keepalive.as_deref(),
        wishes: None,
    }
}

fn durations(answer: &Answer) -> String {
    let total = Duration::from_nanos(answer.total_duration);
    let load = Duration::from_nanos(answer.load_duration);
    let tokens = answer.prompt_eval_count;
    format!(
        "total duration:       {total:?}\n\
        load duration:        {load:?}\n\
        prompt eval count:    {tokens} token(s)"
    )
}

/// Accepts the spellings that Go's flags accept.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("use true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Arguments {
        Line::parse_from(std::iter::once("run").chain(line.split_whitespace())).arguments
    }

    #[test]
    fn truncate_takes_a_value_only_after_an_equals_sign() {
        assert_eq!(parse("m hello").truncate, None);
        assert_eq!(parse("m --truncate=false hello").truncate, Some(false));
        assert_eq!(parse("m --truncate=T hello").truncate, Some(true));
        let words = parse("m --truncate false hello");
        assert_eq!(words.truncate, Some(true));
        assert_eq!(words.prompt, ["false", "hello"]);
    }

    #[test]
    fn flags_of_language_models_are_taken_and_ignored() {
        let line = "m --format json --nowordwrap --think --hidethinking hello";
        assert_eq!(parse(line).prompt, ["hello"]);
        assert_eq!(parse("m --think=low hello").prompt, ["hello"]);
    }

    #[test]
    fn durations_are_readable() {
        let answer = r#"{"embeddings":[],"total_duration":1500000,"prompt_eval_count":8}"#;
        let answer: Answer = serde_json::from_str(answer).expect("json");
        let text = durations(&answer);
        assert!(text.starts_with("total duration:       1.5ms\n"), "{text}");
        assert!(text.ends_with("    8 token(s)"), "{text}");
    }
}
