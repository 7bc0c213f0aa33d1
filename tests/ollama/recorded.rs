//! Are the answers those that a running Ollama gave?
//!
//! The lines beside this file are requests that were sent to Ollama, with its answers. Left out is what cannot be
//! equal: GGUF files, other models, and the deliberate differences, which have tests of their own in the other files.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::ok;
use crate::support::{Daemon, http};

/// Headers that say nothing of the contract.
const ASIDE: [&str; 5] =
    ["connection", "content-length", "date", "retry-after", "transfer-encoding"];

#[derive(Deserialize)]
struct Pair {
    request: (String, String),
    #[serde(default)]
    sent: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
    status: u16,
    headers: BTreeMap<String, String>,
    /// The body of the answer, byte for byte.
    answer: Option<String>,
    /// The body where numbers differ.
    shape: Option<Value>,
}

#[test]
fn of_an_empty_store() {
    replay(&Daemon::start(&[]), include_str!("recorded_empty.jsonl"));
}

#[test]
fn of_a_store_with_an_embedding_model() {
    let daemon = Daemon::with_all_minilm(&[]);
    ok(&daemon, "/api/copy", &json!({ "source": "all-minilm", "destination": "emb" }));
    replay(&daemon, include_str!("recorded_model.jsonl"));
}

fn replay(daemon: &Daemon, lines: &str) {
    let wrong: Vec<String> = lines.lines().filter_map(|line| differs(daemon, line)).collect();
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Returns what is not as recorded.
fn differs(daemon: &Daemon, line: &str) -> Option<String> {
    let pair: Pair = serde_json::from_str(line).unwrap();
    let (method, path) = &pair.request;
    let sent: Vec<(&str, &str)> = pair.sent.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let body = match &pair.body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    let (status, headers, text) = http(&daemon.url, method, path, &sent, body.as_bytes());
    let headers = lowered(headers);
    let wanted = lowered(pair.headers);
    let shape = pair.shape.map(|shape| shape.to_string());
    let same = pair.answer.is_none_or(|answer| answer == text)
        && shape.is_none_or(|shape| shape == masked(&text));
    let right = same && status == pair.status && headers == wanted;
    (!right).then(|| format!("{line}\n  {status} {headers:?} {text:.300}"))
}

fn lowered(headers: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let headers = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value));
    headers.filter(|(name, _)| !ASIDE.contains(&name.as_str())).collect()
}

/// Returns a JSON text without what differs from model to model and from call to call.
fn masked(text: &str) -> String {
    let mut value = serde_json::from_str(text).unwrap_or_default();
    mask("", &mut value);
    value.to_string()
}

fn mask(key: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Deliberately added: the tokens of each input, and whether it was cut.
            fields.shift_remove("inputs");
            fields.iter_mut().for_each(|(key, value)| mask(key, value));
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if items.iter().all(Value::is_number) => *value = json!("vector"),
        Value::Array(items) => items.iter_mut().for_each(|item| mask("", item)),
        _ if key == "embedding" => *value = json!("vector"),
        _ if ["created", "created_at", "load_duration", "total_duration"].contains(&key) => {
            *value = json!("varies");
        }
        _ => {}
    }
}
