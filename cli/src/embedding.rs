//! What is asked of `/api/embed`, and the numbers that come back as the server wrote them.

use anyhow::Result;
use http::Method;
use modelfiles::KeepAlive;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::Client;

/// One request for vectors; what was not said is not sent.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    /// The model to use.
    pub(crate) model: &'a str,
    /// The texts, in the order of their vectors.
    pub(crate) input: Vec<&'a str>,
    /// Whether a text that is too long is cut instead of refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncate: Option<bool>,
    /// How many numbers a vector is cut to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dimensions: Option<i64>,
    /// How long the model stays in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_alive: Option<&'a str>,
}

/// The vectors and what they cost.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    embeddings: Vec<Box<RawValue>>,
    /// How long all of it took.
    #[serde(default)]
    pub(crate) total_duration: u64,
    /// How long it took until the model could begin.
    #[serde(default)]
    pub(crate) load_duration: u64,
    /// How many tokens the texts have.
    #[serde(default)]
    pub(crate) prompt_eval_count: u64,
    #[serde(default)]
    inputs: Vec<Input>,
}

/// What was used of one text; Ollama's answers do not tell.
#[derive(Debug, Deserialize)]
struct Input {
    tokens: u64,
    truncated: bool,
}

/// How many of how many texts were longer than the model reads.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    texts: usize,
    cut: usize,
    /// The tokens that were left of the longest.
    tokens: u64,
}

impl Request<'_> {
    /// Sends the request.
    pub(crate) async fn send(&self, client: &Client) -> Result<Answer> {
        client.ask(Method::POST, "/api/embed", self).await
    }
}

impl Answer {
    /// Returns which text is the first that was cut.
    pub(crate) fn first_cut(&self) -> Option<usize> {
        self.inputs.iter().position(|input| input.truncated)
    }

    /// Returns each vector as compact JSON.
    pub(crate) fn vectors(&self) -> impl ExactSizeIterator<Item = String> {
        // There is nothing but numbers in a vector, so every blank is one between them.
        self.embeddings.iter().map(|raw| raw.get().split_ascii_whitespace().collect())
    }
}

impl Cuts {
    /// Takes in the texts of one more answer.
    pub(crate) fn add(&mut self, answer: &Answer) {
        let cut = || answer.inputs.iter().filter(|input| input.truncated);
        self.texts += answer.embeddings.len();
        self.cut += cut().count();
        self.tokens = cut().map(|input| input.tokens).max().unwrap_or(0).max(self.tokens);
    }

    /// Returns what a person should know, if anything was cut.
    pub(crate) fn note(&self) -> Option<String> {
        let Self { texts, cut, tokens } = self;
        match (texts, cut) {
            (_, 0) => None,
            (1, _) => Some(format!("note: the text was cut to {tokens} tokens")),
            (_, 1) => Some(format!("note: 1 of {texts} texts was cut to {tokens} tokens")),
            _ => Some(format!("note: {cut} of {texts} texts were cut to {tokens} tokens")),
        }
    }
}

/// Accepts a Go duration such as `5m`, which is sent as it is written.
pub(crate) fn keep_alive(text: &str) -> Result<String, String> {
    KeepAlive::parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_as_they_were_written() {
        let answer: Answer =
            serde_json::from_str(r#"{"embeddings":[[0.010071031, -1e-7,1.0],[ ]]}"#).expect("json");
        let vectors: Vec<String> = answer.vectors().collect();
        assert_eq!(vectors, ["[0.010071031,-1e-7,1.0]", "[]"]);
    }

    #[test]
    fn cut_texts_are_counted() {
        let note = |answers: &[&str]| {
            let mut cuts = Cuts::default();
            for answer in answers {
                cuts.add(&serde_json::from_str(answer).expect("json"));
            }
            cuts.note()
        };
        let whole = r#"{"embeddings":[[1]],"inputs":[{"tokens":3,"truncated":false}]}"#;
        let cut = r#"{"embeddings":[[1]],"inputs":[{"tokens":256,"truncated":true}]}"#;
        assert_eq!(note(&[whole, r#"{"embeddings":[[1]]}"#]), None);
        assert_eq!(note(&[cut]).as_deref(), Some("note: the text was cut to 256 tokens"));
        let one = note(&[whole, cut]);
        assert_eq!(one.as_deref(), Some("note: 1 of 2 texts was cut to 256 tokens"));
        let two = note(&[cut, whole, cut]);
        assert_eq!(two.as_deref(), Some("note: 2 of 3 texts were cut to 256 tokens"));
    }

    #[test]
    fn only_what_was_said_is_sent() {
        let mut request = Request {
            model: "m",
            input: vec!["hello"],
            truncate: None,
            dimensions: None,
            keep_alive: None,
        };
        let json = |request: &Request<'_>| serde_json::to_string(request).expect("json");
        assert_eq!(json(&request), r#"{"model":"m","input":["hello"]}"#);
        request.truncate = Some(false);
        request.dimensions = Some(64);
        request.keep_alive = Some("5m");
        let want =
            r#"{"model":"m","input":["hello"],"truncate":false,"dimensions":64,"keep_alive":"5m"}"#;
        assert_eq!(json(&request), want);
    }

    #[test]
    fn keep_alive_is_a_go_duration() {
        assert_eq!(keep_alive("5m").as_deref(), Ok("5m"));
        assert!(keep_alive("five").is_err());
    }
}
