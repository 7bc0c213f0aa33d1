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
    /// What else of a model and of its texts is wanted.
    #[serde(flatten)]
    pub(crate) wishes: Option<&'a Wishes>,
}

/// What Ollama has no words for; what was not said is not sent.
#[derive(Debug, Default, clap::Args, Serialize)]
pub(crate) struct Wishes {
    /// What the texts are: query or document; a model with prompts for them takes these
    #[arg(long, value_name = "TASK")]
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// Put this before every text
    #[arg(long, value_name = "TEXT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    /// Put a prompt of the model before every text, by its name
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_name: Option<String>,
    /// Leave the vectors as long as the model's own pipeline makes them
    #[arg(long = "no-normalize", action = clap::ArgAction::SetFalse)]
    #[serde(skip_serializing_if = "is_true")]
    normalize: bool,
    /// What to compute: dense, sparse or multivector, or several with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<String>,
    /// How to write vectors: float, base64, int8, uint8, binary or ubinary
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<String>,
    /// Divide texts that are too long: pool (one vector of all chunks), each (one per chunk) or late
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "pool")]
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<String>,
    /// The most tokens of a chunk
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_tokens: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde wants")]
fn is_true(flag: &bool) -> bool {
    *flag
}

/// The vectors and what they cost.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    embeddings: Vec<Box<RawValue>>,
    #[serde(default)]
    sparse: Vec<Box<RawValue>>,
    #[serde(default)]
    multivectors: Vec<Box<RawValue>>,
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
    #[serde(default)]
    chunks: Option<Vec<Chunk>>,
}

/// Where a chunk begins and ends, in characters.
#[derive(Debug, Deserialize)]
struct Chunk {
    start: usize,
    end: usize,
}

/// What became of a text, or of a chunk of one.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    /// Which of the texts it belongs to.
    pub(crate) text: usize,
    /// Which of its characters, if it is a chunk.
    pub(crate) part: Option<(usize, usize)>,
    /// The fields of it, as JSON without braces.
    pub(crate) fields: String,
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

impl Answer {
    /// Returns what became of so many texts, or none if there is not enough.
    pub(crate) fn rows(&self, texts: usize, wishes: &Wishes) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        if wishes.divide() {
            for (text, input) in self.inputs.iter().enumerate() {
                for Chunk { start, end } in input.chunks.iter().flatten() {
                    let fields = format!(r#""start":{start},"end":{end}"#);
                    rows.push(Row { text, part: Some((*start, *end)), fields });
                }
            }
        } else {
            rows.extend((0..texts).map(|text| Row { text, part: None, fields: String::new() }));
        }
        for (name, list) in [
            ("embedding", &self.embeddings),
            ("sparse", &self.sparse),
            ("multivector", &self.multivectors),
        ] {
            if list.is_empty() {
                continue;
            }
            if list.len() != rows.len() {
                return None;
            }
            for (row, value) in rows.iter_mut().zip(list) {
                // There is nothing but numbers and names in it, so no blank means anything.
                let value: String = value.get().split_ascii_whitespace().collect();
                let comma = if row.fields.is_empty() { "" } else { "," };
                row.fields.extend([comma, "\"", name, "\":", &value]);
            }
        }
        (texts == 0 || rows.iter().any(|row| !row.fields.is_empty())).then_some(rows)
    }
}

impl Wishes {
    /// Says whether chunks are to have vectors of their own.
    fn divide(&self) -> bool {
        matches!(self.chunk.as_deref(), Some("each" | "late"))
    }
}

impl Cuts {
    /// Takes in the texts of one more answer.
    pub(crate) fn add(&mut self, answer: &Answer) {
        let cut = || answer.inputs.iter().filter(|input| input.truncated);
        self.texts += answer.inputs.len();
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
            wishes: None,
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
    fn texts_have_rows_and_chunks_too() {
        let rows = |answer: &str, texts, chunk: Option<&str>| {
            let answer: Answer = serde_json::from_str(answer).expect("json");
            let chunk = chunk.map(str::to_owned);
            let rows = answer.rows(texts, &Wishes { chunk, ..Wishes::default() })?;
            Some(rows.into_iter().map(|row| (row.text, row.fields)).collect::<Vec<_>>())
        };
        let both = r#"{"embeddings":[[1, 2]],"sparse":[{"indices":[3],"values":[0.5]}],
            "inputs":[{"tokens":3,"truncated":false}]}"#;
        let want = r#""embedding":[1,2],"sparse":{"indices":[3],"values":[0.5]}"#;
        assert_eq!(rows(both, 1, None), Some(vec![(0, want.to_owned())]));
        assert_eq!(rows(both, 2, None), None);
        let chunks = r#"{"embeddings":[[1],[2],[3]],"inputs":[
            {"tokens":3,"truncated":false,"chunks":[{"start":0,"end":4},{"start":5,"end":9}]},
            {"tokens":3,"truncated":false,"chunks":[{"start":0,"end":2}]}]}"#;
        let row = |text, start, end, x| {
            (text, format!(r#""start":{start},"end":{end},"embedding":[{x}]"#))
        };
        let wanted = vec![row(0, 0, 4, 1), row(0, 5, 9, 2), row(1, 0, 2, 3)];
        assert_eq!(rows(chunks, 2, Some("each")), Some(wanted));
        let pooled = chunks.replace("[1],[2],[3]", "[1],[2]");
        let row = |text, x| (text, format!(r#""embedding":[{x}]"#));
        assert_eq!(rows(&pooled, 2, Some("pool")), Some(vec![row(0, 1), row(1, 2)]));
    }

    #[test]
    fn keep_alive_is_a_go_duration() {
        assert_eq!(keep_alive("5m").as_deref(), Ok("5m"));
        assert!(keep_alive("five").is_err());
    }
}
