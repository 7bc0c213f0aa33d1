//! What a model computes that was trained to score its input: a reranker, which reads a query and a document at once.

use modelfiles::recipe::Pooling;
use serde_json::Value;

use super::{PoolingStep, Step};
use crate::{
    Error,
    plan::{Activation, most},
    settings::Settings,
};

/// What makes a score of the number that a reranker gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// 1 / (1 + e^−x).
    Sigmoid,
    /// The number itself.
    Identity,
}

impl Scoring {
    /// Returns the score of a number.
    pub fn of(self, x: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Identity => x,
        }
    }
}

/// The steps behind the encoder, and what makes a score of the number that comes out.
pub(super) struct Classifier {
    pub(super) pooling: PoolingStep,
    pub(super) steps: Vec<Step>,
    pub(super) scoring: Scoring,
}

/// Reads the head of a `…ForSequenceClassification`; none if the model is something else. `other` is the
/// configuration of sentence-transformers, if there is one.
pub(super) fn read(
    config: &Settings,
    other: Option<&Settings>,
    folder: &str,
) -> Result<Option<Classifier>, Error> {
    let names = config.get(&["architectures"]).and_then(Value::as_array);
    let mut names = names.into_iter().flatten().filter_map(Value::as_str);
    if !names.any(|name| name.ends_with("ForSequenceClassification")) {
        return Ok(None);
    }
    let model_type = config.text(&["model_type"]).unwrap_or_default();
    let hidden = config.size(&["hidden_size", "dim"], most::WIDTH)?;
    let labels = labels(config)?;
    let dense = |stem: &str, outputs: usize, bias: bool, activation: Activation| Step::Dense {
        folder: folder.to_owned(),
        stem: stem.to_owned(),
        inputs: hidden,
        outputs,
        bias,
        activation,
    };
    let last = |stem| dense(stem, labels, true, Activation::Identity);
    let mut pooling = Pooling::Cls;
    let steps = match model_type {
        "bert" => {
            vec![dense("pooler.dense", hidden, true, Activation::Tanh), last("classifier")]
        }
        "deberta-v2" => {
            let name = config.text(&["pooler_hidden_act"]).unwrap_or("gelu");
            let activation = Activation::parse(name).ok_or_else(|| unsupported(name))?;
            vec![dense("pooler.dense", hidden, true, activation), last("classifier")]
        }
        "distilbert" => {
            vec![dense("pre_classifier", hidden, true, Activation::Relu), last("classifier")]
        }
        "roberta" | "xlm-roberta" | "camembert" => {
            let inner = dense("classifier.dense", hidden, true, Activation::Tanh);
            vec![inner, last("classifier.out_proj")]
        }
        "modernbert" => {
            if config.text(&["classifier_pooling"]) == Some("mean") {
                pooling = Pooling::Mean;
            }
            let name = config.text(&["classifier_activation"]).unwrap_or("gelu");
            let activation = Activation::parse(name).ok_or_else(|| unsupported(name))?;
            let epsilon = config.positive(&["norm_eps", "layer_norm_eps"], 1e-5)?;
            let bias = config.flag(&["norm_bias"]);
            vec![
                dense("head.dense", hidden, config.flag(&["classifier_bias"]), activation),
                Step::Norm {
                    folder: folder.to_owned(),
                    stem: "head.norm".to_owned(),
                    width: hidden,
                    bias,
                    epsilon,
                },
                last("classifier"),
            ]
        }
        other => return Err(unsupported(&format!("rerankers and classifiers of '{other}'"))),
    };
    let pooling = PoolingStep { modes: vec![pooling], include_prompt: true };
    Ok(Some(Classifier { pooling, steps, scoring: scoring(config, other, labels)? }))
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!("{what} cannot run in this version"))
}

/// Returns how many numbers come out; transformers counts names, and two are the default.
fn labels(config: &Settings) -> Result<usize, Error> {
    match config.get(&["id2label"]).and_then(Value::as_object) {
        Some(names) if !names.is_empty() => Ok(names.len()),
        _ => config.size_or(&["num_labels"], 2, most::WIDTH),
    }
}

/// Returns what makes a score of a number: what sentence-transformers was told, else a sigmoid where there is one
/// number alone.
pub(super) fn scoring(
    config: &Settings,
    other: Option<&Settings>,
    labels: usize,
) -> Result<Scoring, Error> {
    let nested = config.get(&["sentence_transformers"]).and_then(|own| own.get("activation_fn"));
    let class = nested
        .and_then(Value::as_str)
        .or_else(|| config.text(&["sbert_ce_default_activation_function"]))
        .or_else(|| other.and_then(|other| other.text(&["activation_fn"])));
    match class.map(|class| class.rsplit('.').next().unwrap_or_default()) {
        None if labels == 1 => Ok(Scoring::Sigmoid),
        None | Some("Identity") => Ok(Scoring::Identity),
        Some("Sigmoid") => Ok(Scoring::Sigmoid),
        Some(other) => Err(unsupported(&format!("scores by '{other}'"))),
    }
}
