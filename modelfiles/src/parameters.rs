//! What may a `PARAMETER` line or an `options` object say? All keys of Ollama, and ours.

mod keys;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use keys::is_deprecated;
use keys::{Kind, kind};

use crate::duration::KeepAlive;
use crate::human::quoted;
use crate::recipe::{Pooling, Precision, Rerank, Side};

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}

/// The parameters of a model or the options of a request, by key.
pub type Parameters = BTreeMap<String, Value>;

/// Says why a parameter is refused, in Ollama's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParameterError {
    /// There is no such key.
    #[error("unknown parameter '{0}'")]
    Unknown(String),
    /// A Modelfile's text is not of the key's type.
    #[error("invalid {kind} value [{text}]{hint}")]
    Text {
        /// The type in one word.
        kind: &'static str,
        /// The text as given.
        text: String,
        /// What would be accepted, where the type does not say it.
        hint: &'static str,
    },
    /// A JSON value is not of the key's type.
    #[error("option {} must be {expected}", quoted(key))]
    Json {
        /// The key.
        key: String,
        /// What would be accepted.
        expected: &'static str,
    },
}

/// Gives the texts of one key their type; only a list takes more than the first of them.
pub fn typed(key: &str, values: &[String]) -> Result<Value, ParameterError> {
    let kind = kind(key).ok_or_else(|| ParameterError::Unknown(key.to_owned()))?;
    let text = values.first().map_or("", String::as_str);
    let value = match kind {
        Kind::List => Some(Value::List(values.to_vec())),
        Kind::Int => int(text).map(Value::Int),
        Kind::Count => int(text).filter(|count| *count > 0).map(Value::Int),
        Kind::Float => float(text).map(Value::Float),
        Kind::Bool => boolean(text).map(Value::Bool),
        kind => is_word(kind, text).then(|| Value::Text(text.to_owned())),
    };
    let (kind, hint) = describe(kind);
    value.ok_or_else(|| ParameterError::Text { kind, text: values.join(" "), hint })
}

/// Checks a value that came as JSON. As in Ollama an unknown key is no error and a fraction is cut
/// off.
pub fn check(key: &str, value: &Value) -> Result<(), ParameterError> {
    let Some(kind) = kind(key) else { return Ok(()) };
    let expected = match (kind, value) {
        (Kind::Int | Kind::Float | Kind::KeepAlive, Value::Int(_) | Value::Float(_))
        | (Kind::Bool, Value::Bool(_))
        | (Kind::List, Value::List(_))
        | (Kind::Count, Value::Int(1..)) => return Ok(()),
        (Kind::Count, Value::Float(count)) if *count >= 1.0 => return Ok(()),
        (Kind::Count, Value::Int(_) | Value::Float(_)) => "at least 1",
        (Kind::Int | Kind::Count, _) => "of type integer",
        (Kind::Float, _) => "of type float32",
        (Kind::Bool, _) => "of type boolean",
        (Kind::List, _) => "of type array",
        (_, Value::Text(text)) if is_word(kind, text) => return Ok(()),
        (_, Value::Text(_)) => describe(kind).1.trim_start_matches(": "),
        _ => "of type string",
    };
    Err(ParameterError::Json { key: key.to_owned(), expected })
}

/// Returns the texts that set a value in a Modelfile: one, or one for each of a list.
pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Int(number) => vec![number.to_string()],
        Value::Float(number) => vec![number.to_string()],
        Value::Bool(truth) => vec![truth.to_string()],
        Value::Text(text) => vec![text.clone()],
        Value::List(texts) => texts.clone(),
    }
}

/// Returns the `parameters` text of `/api/show`: a line for each value, the key padded, texts in
/// Go's quotes.
pub fn table(parameters: &Parameters) -> String {
    let mut lines = Vec::new();
    for (key, value) in parameters {
        let is_text = matches!(value, Value::Text(_) | Value::List(_));
        for text in texts(value) {
            let text = if is_text { quoted(&text) } else { text };
            lines.push(format!("{key:<30} {text}"));
        }
    }
    lines.join("\n")
}

fn int(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Reads 32 bits, as Ollama does, and widens them so that 0.7 stays 0.7.
fn float(text: &str) -> Option<f64> {
    let number: f32 = text.parse().ok()?;
    if number.is_finite() { number.to_string().parse().ok() } else { None }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Returns whether a text is one of the words that its kind allows.
fn is_word(kind: Kind, text: &str) -> bool {
    match kind {
        Kind::Pooling => Pooling::parse(text).is_some(),
        Kind::Side => Side::parse(text).is_some(),
        Kind::Precision => Precision::parse(text).is_some(),
        Kind::Rerank => Rerank::parse(text).is_some(),
        Kind::KeepAlive => KeepAlive::from_variable(text).is_some(),
        kind => kind == Kind::Text,
    }
}

/// Returns a kind's name in errors, and what it accepts where the name does not say it.
fn describe(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Int => ("int", ""),
        Kind::Count => ("int", ": at least 1"),
        Kind::Float => ("float", ""),
        Kind::Bool => ("bool", ""),
        Kind::Text => ("string", ""),
        Kind::List => ("array", ""),
        Kind::Pooling => ("pooling", ": one of cls, mean, max, last, weightedmean or sqrtmean"),
        Kind::Side => ("side", ": one of left or right"),
        Kind::Precision => ("precision", ": one of auto, f32, bf16 or int8"),
        Kind::Rerank => ("rerank", ": yes_no"),
        Kind::KeepAlive => ("duration", ": a duration such as 5m, or a number of seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, text: &str) -> Result<Value, String> {
        typed(key, &[text.to_owned()]).map_err(|error| error.to_string())
    }

    #[test]
    fn types() {
        let text = |text: &str| Value::Text(text.to_owned());
        let rows = [
            ("num_ctx", "256", Value::Int(256)),
            ("seed", "-1", Value::Int(-1)),
            ("temperature", "0.7", Value::Float(0.7)),
            ("top_p", "1e-1", Value::Float(0.1)),
            ("use_mmap", "TRUE", Value::Bool(true)),
            ("normalize", "0", Value::Bool(false)),
            ("stop", "a b", Value::List(vec!["a b".to_owned()])),
            ("pooling", "lasttoken", text("lasttoken")),
            ("dimensions", "256", Value::Int(256)),
            ("query_prompt", "query: ", text("query: ")),
            ("document_prompt", "", text("")),
            ("truncation_side", "left", text("left")),
            ("precision", "int8", text("int8")),
            ("rerank", "yes_no", text("yes_no")),
            ("keep_alive", "10m", text("10m")),
            ("keep_alive", "-1", text("-1")),
        ];
        for (key, text, value) in rows {
            assert_eq!(one(key, text), Ok(value), "{key} {text}");
        }
    }

    #[test]
    fn refused_texts() {
        let rows = [
            ("foo", "1", "unknown parameter 'foo'"),
            ("NUM_CTX", "1", "unknown parameter 'NUM_CTX'"),
            ("num_ctx", "x", "invalid int value [x]"),
            ("num_ctx", "1.5", "invalid int value [1.5]"),
            ("temperature", "x", "invalid float value [x]"),
            ("temperature", "1e40", "invalid float value [1e40]"),
            ("temperature", "nan", "invalid float value [nan]"),
            ("use_mmap", "yes", "invalid bool value [yes]"),
            ("dimensions", "0", "invalid int value [0]: at least 1"),
            (
                "pooling",
                "x",
                "invalid pooling value [x]: one of cls, mean, max, last, weightedmean or sqrtmean",
            ),
            ("rerank", "cosine", "invalid rerank value [cosine]: yes_no"),
            ("truncation_side", "up", "invalid side value [up]: one of left or right"),
            ("precision", "f8", "invalid precision value [f8]: one of auto, f32, bf16 or int8"),
            (
                "keep_alive",
                "x",
                "invalid duration value [x]: a duration such as 5m, or a number of seconds",
            ),
        ];
        for (key, text, message) in rows {
            assert_eq!(one(key, text), Err(message.to_owned()));
        }
        let two = ["x".to_owned(), "2".to_owned()];
        assert_eq!(typed("seed", &two).unwrap_err().to_string(), "invalid int value [x 2]");
    }

    #[test]
    fn json_types() {
        let rows = [
            (r#"{"num_ctx": 4096, "top_k": 1.5, "temperature": 0, "unknown": "x"}"#, None),
            (
                r#"{"keep_alive": 60, "dimensions": 2, "stop": ["a"], "use_mmap": true, "prompt": ""}"#,
                None,
            ),
            (r#"{"num_ctx": "4096"}"#, Some("option \"num_ctx\" must be of type integer")),
            (r#"{"num_ctx": true}"#, Some("option \"num_ctx\" must be of type integer")),
            (r#"{"top_p": "1"}"#, Some("option \"top_p\" must be of type float32")),
            (r#"{"use_mmap": 1}"#, Some("option \"use_mmap\" must be of type boolean")),
            (r#"{"stop": "a"}"#, Some("option \"stop\" must be of type array")),
            (r#"{"prompt": 1}"#, Some("option \"prompt\" must be of type string")),
            (r#"{"dimensions": 0}"#, Some("option \"dimensions\" must be at least 1")),
            (
                r#"{"precision": "f8"}"#,
                Some("option \"precision\" must be one of auto, f32, bf16 or int8"),
            ),
        ];
        for (json, message) in rows {
            let parameters: Parameters = serde_json::from_str(json).unwrap();
            let error = parameters.iter().find_map(|(key, value)| check(key, value).err());
            assert_eq!(error.map(|error| error.to_string()), message.map(str::to_owned), "{json}");
        }
    }

    #[test]
    fn json_round_trip() {
        let json = r#"{"a":1,"b":1.5,"c":true,"d":"x","e":["y"],"f":1.0}"#;
        let parameters: Parameters = serde_json::from_str(json).unwrap();
        assert_eq!(parameters["a"], Value::Int(1));
        assert_eq!(serde_json::to_string(&parameters).unwrap(), json);
    }

    #[test]
    fn show_table() {
        let json = r#"{"num_ctx": 256, "stop": ["<a>", "\n"], "temperature": 0.7, "pin": true}"#;
        let parameters: Parameters = serde_json::from_str(json).unwrap();
        let pad = |key: &str| format!("{key}{}", " ".repeat(31 - key.len()));
        let expected = [
            pad("num_ctx") + "256",
            pad("pin") + "true",
            pad("stop") + "\"<a>\"",
            pad("stop") + "\"\\n\"",
            pad("temperature") + "0.7",
        ];
        assert_eq!(table(&parameters), expected.join("\n"));
    }
}
