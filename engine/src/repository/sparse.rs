//! What a model computes that gives weights of tokens, as its files say.

use serde_json::Value;

use super::{modules::Module, optional};
use crate::{
    Error, Files,
    plan::{Activation, most},
    settings::Settings,
};

/// How hidden states become weights of tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SparseStep {
    /// By the head of a masked language model.
    Predictions(Predictions),
    /// By a layer in a file of its own, for the tokens of the text.
    File(String),
    /// By the classifier of the model, likewise.
    Classifier,
}

/// The head of a masked language model: a dense layer, an activation, a norm and a row for each token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Predictions {
    /// What the tensors are called.
    pub(crate) transform: &'static str,
    pub(crate) norm: &'static str,
    pub(crate) decoder: &'static str,
    pub(crate) bias: &'static str,
    pub(crate) activation: Activation,
    pub(crate) epsilon: f64,
    /// Whether dense layer and norm have biases.
    pub(crate) has_biases: bool,
    /// Whether the weights of all places are added; else the greatest counts.
    pub(crate) sums: bool,
    /// Whether the logarithm is taken twice.
    pub(crate) twice: bool,
}

impl SparseStep {
    /// Returns how many weights it has, for an encoder of this width with so many tokens.
    pub(crate) fn weights(&self, width: usize, tokens: usize) -> u64 {
        match self {
            Self::Predictions(_) => (width * (width + tokens)) as u64,
            Self::File(_) | Self::Classifier => width as u64,
        }
    }
}

/// Finds the sparse output of a repository: by a module that pools predictions, by the file of bge-m3, or by the class
/// of mGTE.
pub(super) fn read(
    files: &Files,
    modules: &[Module],
    config: &Settings,
) -> Result<Option<SparseStep>, Error> {
    if let Some(module) = modules.iter().find(|module| module.kind == "SpladePooling") {
        let path = format!("{}config.json", module.folder);
        let settings = optional(files, &path)?.ok_or_else(|| Error::file(&path, "missing"))?;
        return pooled(&settings, config).map(Some);
    }
    let file = "sparse_linear.pt";
    if files.contains_key(file) {
        return Ok(Some(SparseStep::File(file.to_owned())));
    }
    let names = config.get(&["architectures"]).and_then(Value::as_array);
    let mut names = names.into_iter().flatten().filter_map(Value::as_str);
    Ok(names.any(|name| name == "NewForTokenClassification").then_some(SparseStep::Classifier))
}

fn pooled(settings: &Settings, config: &Settings) -> Result<SparseStep, Error> {
    let sums = match settings.text(&["pooling_strategy"]).unwrap_or("max") {
        "max" => false,
        "sum" => true,
        other => return Err(unsupported(&format!("pooling '{other}'"))),
    };
    let twice = match settings.text(&["activation_function"]).unwrap_or("relu") {
        "relu" => false,
        "log1p_relu" => true,
        other => return Err(unsupported(&format!("activation '{other}'"))),
    };
    Ok(SparseStep::Predictions(Predictions { sums, twice, ..predictions(config)? }))
}

/// Names the head of a masked language model, whose greatest weights count.
pub(super) fn predictions(config: &Settings) -> Result<Predictions, Error> {
    let model_type = config.text(&["model_type"]).unwrap_or_default();
    let [transform, norm, decoder, bias] = match model_type {
        "bert" => [
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.decoder",
            "cls.predictions",
        ],
        "roberta" | "xlm-roberta" | "camembert" | "mpnet" => {
            ["lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head"]
        }
        "distilbert" => {
            ["vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector"]
        }
        "modernbert" => ["head.dense", "head.norm", "decoder", "decoder"],
        other => return Err(unsupported(&format!("sparse output of '{other}'"))),
    };
    let (keys, default): (&[&str], f64) = match model_type {
        "distilbert" => (&[], 1e-12),
        "modernbert" => (&["norm_eps", "layer_norm_eps"], 1e-5),
        "bert" | "mpnet" => (&["layer_norm_eps"], 1e-12),
        _ => (&["layer_norm_eps"], 1e-5),
    };
    let epsilon = if keys.is_empty() { default } else { config.positive(keys, default)? };
    let name = match model_type {
        "bert" => config.text(&["hidden_act"]),
        "distilbert" => config.text(&["activation"]),
        "modernbert" => config.text(&["classifier_activation"]),
        _ => None,
    };
    let name = name.unwrap_or("gelu");
    let activation =
        Activation::parse(name).ok_or_else(|| unsupported(&format!("activation '{name}'")))?;
    // Refuses what the table of rows could not be.
    config.size(&["vocab_size"], most::VOCABULARY)?;
    let has_biases = model_type != "modernbert";
    let (sums, twice) = (false, false);
    Ok(Predictions { transform, norm, decoder, bias, activation, epsilon, has_biases, sums, twice })
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!("{what} cannot run in this version"))
}
