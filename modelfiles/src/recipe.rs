//! How does a model make vectors, where a Modelfile says more than the model's own files?

use std::fmt;

use crate::duration::KeepAlive;
use crate::parameters::{self, ParameterError, Parameters, Value};

/// The settings of a model; `None` leaves the decision to the model's own files.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recipe {
    /// How token vectors become one vector.
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to length one.
    pub normalize: Option<bool>,
    /// How many leading values of a vector are kept (Matryoshka).
    pub dimensions: Option<usize>,
    /// Stands before every text that has no prompt of its own kind.
    pub prompt: Option<String>,
    /// Stands before queries.
    pub query_prompt: Option<String>,
    /// Stands before documents.
    pub document_prompt: Option<String>,
    /// The most tokens of a text that are read, special ones included.
    pub max_tokens: Option<usize>,
    /// Ollama's limit of tokens, which a request may set too.
    pub num_ctx: Option<i64>,
    /// Which end of a text that is too long goes.
    pub truncation_side: Option<Side>,
    /// The numbers to compute with.
    pub precision: Option<Precision>,
    /// How a language model judges documents, where it is a reranker.
    pub rerank: Option<Rerank>,
    /// How long the model stays in memory after a request that does not say it.
    pub keep_alive: Option<KeepAlive>,
    /// Whether the model is never evicted in favour of another.
    pub pin: bool,
}

impl Recipe {
    /// Reads the parameters that concern the recipe and checks the types of all that are known.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, ParameterError> {
        for (key, value) in parameters {
            parameters::check(key, value)?;
        }
        let find = |key: &str| parameters.get(key);
        let text = |key: &str| find(key).and_then(as_text);
        let count =
            |key: &str| find(key).and_then(as_int).and_then(|count| usize::try_from(count).ok());
        Ok(Self {
            pooling: text("pooling").and_then(Pooling::parse),
            normalize: find("normalize").and_then(as_bool),
            dimensions: count("dimensions"),
            prompt: text("prompt").map(str::to_owned),
            query_prompt: text("query_prompt").map(str::to_owned),
            document_prompt: text("document_prompt").map(str::to_owned),
            max_tokens: count("max_tokens"),
            num_ctx: find("num_ctx").and_then(as_int),
            truncation_side: text("truncation_side").and_then(Side::parse),
            precision: text("precision").and_then(Precision::parse),
            rerank: text("rerank").and_then(Rerank::parse),
            keep_alive: find("keep_alive").and_then(as_keep_alive),
            pin: find("pin").and_then(as_bool).unwrap_or(false),
        })
    }
}

/// How the vectors of the tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The first token.
    Cls,
    /// The mean.
    Mean,
    /// The largest value of each dimension.
    Max,
    /// The last token.
    Last,
    /// The mean weighted by position, 1 for the first.
    WeightedMean,
    /// The sum divided by the square root of the count.
    SqrtMean,
    /// No vector, but weights of the tokens that a masked language model predicts, the greatest of all places.
    Splade,
}

impl Pooling {
    /// Parses our word, or the spelling of sentence-transformers.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "cls" | "cls_token" => Some(Self::Cls),
            "mean" | "mean_tokens" | "masked_mean" => Some(Self::Mean),
            "max" | "max_tokens" => Some(Self::Max),
            "last" | "lasttoken" | "last_token" => Some(Self::Last),
            "weightedmean" | "weightedmean_tokens" => Some(Self::WeightedMean),
            "sqrtmean" | "mean_sqrt_len_tokens" => Some(Self::SqrtMean),
            "splade" => Some(Self::Splade),
            _ => None,
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Last => "last",
            Self::WeightedMean => "weightedmean",
            Self::SqrtMean => "sqrtmean",
            Self::Splade => "splade",
        })
    }
}

/// One end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The beginning.
    Left,
    /// The end.
    Right,
}

impl Side {
    /// Parses `left` or `right`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "left" => Some(Self::Left),
            "right" => Some(Self::Right),
            _ => None,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

/// The numbers a model computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Whatever is fast here and keeps the vectors.
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats.
    Bf16,
    /// 8-bit integers.
    Int8,
}

impl Precision {
    /// Parses `auto`, `f32`, `bf16` or `int8`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Some(Self::Auto),
            "f32" => Some(Self::F32),
            "bf16" => Some(Self::Bf16),
            "int8" => Some(Self::Int8),
            _ => None,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

/// How a language model judges documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rerank {
    /// By how much likelier it answers yes than no, asked in the words of Qwen3-Reranker.
    YesNo,
}

impl Rerank {
    /// Parses `yes_no`.
    pub fn parse(text: &str) -> Option<Self> {
        text.eq_ignore_ascii_case("yes_no").then_some(Self::YesNo)
    }
}

impl fmt::Display for Rerank {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::YesNo => "yes_no",
        })
    }
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) => Some(*number as i64),
        _ => None,
    }
}

fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        _ => None,
    }
}

fn as_keep_alive(value: &Value) -> Option<KeepAlive> {
    match value {
        Value::Text(text) => KeepAlive::from_variable(text),
        Value::Int(seconds) => Some(KeepAlive::from_seconds(*seconds as f64)),
        Value::Float(seconds) => Some(KeepAlive::from_seconds(*seconds)),
        Value::Bool(_) | Value::List(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn recipe(json: &str) -> Result<Recipe, String> {
        let parameters: Parameters = serde_json::from_str(json).unwrap();
        Recipe::from_parameters(&parameters).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said() {
        assert_eq!(recipe("{}"), Ok(Recipe::default()));
        assert_eq!(
            recipe(r#"{"temperature": 0.5, "stop": ["x"], "mine": 1}"#),
            Ok(Recipe::default())
        );
    }

    #[test]
    fn everything_said() {
        let json = r#"{"pooling": "masked_mean", "normalize": false, "dimensions": 256, "prompt": "p",
            "query_prompt": "query: ", "document_prompt": "", "max_tokens": 128, "num_ctx": 30.9,
            "truncation_side": "left", "precision": "bf16", "rerank": "yes_no", "keep_alive": "10m", "pin": true}"#;
        let expected = Recipe {
            pooling: Some(Pooling::Mean),
            normalize: Some(false),
            dimensions: Some(256),
            prompt: Some("p".to_owned()),
            query_prompt: Some("query: ".to_owned()),
            document_prompt: Some(String::new()),
            max_tokens: Some(128),
            num_ctx: Some(30),
            truncation_side: Some(Side::Left),
            precision: Some(Precision::Bf16),
            rerank: Some(Rerank::YesNo),
            keep_alive: Some(KeepAlive::For(Duration::from_secs(600))),
            pin: true,
        };
        assert_eq!(recipe(json), Ok(expected));
    }

    #[test]
    fn keep_alive_forms() {
        let seconds = |seconds| Some(KeepAlive::For(Duration::from_secs(seconds)));
        let rows = [
            ("\"5m\"", seconds(300)),
            ("\"60\"", seconds(60)),
            ("60", seconds(60)),
            ("0", seconds(0)),
            ("1.0", seconds(1)),
            ("-1", Some(KeepAlive::Forever)),
            ("\"-1\"", Some(KeepAlive::Forever)),
            ("\"-1m\"", Some(KeepAlive::Forever)),
        ];
        for (value, expected) in rows {
            assert_eq!(
                recipe(&format!("{{\"keep_alive\": {value}}}")).unwrap().keep_alive,
                expected
            );
        }
    }

    #[test]
    fn wrong_types_are_refused_even_where_unused() {
        let message = "option \"temperature\" must be of type float32";
        assert_eq!(recipe(r#"{"temperature": "hot"}"#), Err(message.to_owned()));
    }

    #[test]
    fn words_parse_as_displayed() {
        use Pooling::{Cls, Last, Max, Mean, Splade, SqrtMean, WeightedMean};
        for pooling in [Cls, Mean, Max, Last, WeightedMean, SqrtMean, Splade] {
            assert_eq!(Pooling::parse(&pooling.to_string()), Some(pooling));
        }
        for precision in [Precision::Auto, Precision::F32, Precision::Bf16, Precision::Int8] {
            assert_eq!(Precision::parse(&precision.to_string()), Some(precision));
        }
        for side in [Side::Left, Side::Right] {
            assert_eq!(Side::parse(&side.to_string()), Some(side));
        }
        assert_eq!(Pooling::parse("mean_sqrt_len_tokens"), Some(SqrtMean));
        assert_eq!(Pooling::parse("lasttoken"), Some(Last));
        assert_eq!(Pooling::parse("median"), None);
        assert_eq!(Rerank::parse(&Rerank::YesNo.to_string()), Some(Rerank::YesNo));
    }
}
