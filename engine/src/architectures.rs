//! Which `model_type`s can run: the table that a new architecture adds a line to.

mod bert;
mod distilbert;
mod qwen3;
mod roberta;

use serde_json::Value;

use crate::{
    Error, Plan,
    plan::{Activation, Positions, most},
    settings::Settings,
};

/// A place in the encoder that weights fill; layers count from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    TokenTable,
    PositionTable,
    TypeTable,
    EmbeddingNorm,
    Query(usize),
    Key(usize),
    Value(usize),
    /// RMS norm of every query head.
    QueryNorm(usize),
    /// RMS norm of every key head.
    KeyNorm(usize),
    AttentionOutput(usize),
    /// The norm of the attention: behind it or before it, as the plan says.
    AttentionNorm(usize),
    Gate(usize),
    Up(usize),
    Down(usize),
    /// The norm of the feed-forward layer: behind it or before it, as the plan says.
    OutputNorm(usize),
    /// The norm behind the last block.
    FinalNorm,
}

/// An architecture: how its configuration reads and what its tensors are called.
pub(crate) struct Architecture {
    /// The `model_type`s that it serves.
    pub(crate) model_types: &'static [&'static str],
    /// Computes the plan from `config.json`.
    pub(crate) plan: fn(&Settings) -> Result<Plan, Error>,
    /// Names the tensor of a slot, without prefix and without `.weight` or `.bias`.
    pub(crate) stem: fn(Slot) -> String,
}

static ARCHITECTURES: &[Architecture] =
    &[bert::ARCHITECTURE, distilbert::ARCHITECTURE, qwen3::ARCHITECTURE, roberta::ARCHITECTURE];

/// Says whether models of this `model_type` can run.
pub fn supports(model_type: &str) -> bool {
    find(model_type).is_some()
}

/// Returns the architecture that serves a `model_type`.
pub(crate) fn find(model_type: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.model_types.contains(&model_type))
}

/// Returns the architecture and plan that a `config.json` describes.
pub(crate) fn plan(config: &Settings) -> Result<(&'static Architecture, Plan), Error> {
    let model_type = config.text(&["model_type"]).unwrap_or_default();
    let architecture = find(model_type).ok_or_else(|| unsupported(model_type))?;
    if config.get(&["auto_map"]).is_some() {
        return Err(Error::Unsupported("models that bring their own code cannot run".to_owned()));
    }
    if is_classifier(config) {
        return Err(Error::Unsupported(
            "rerankers and classifiers cannot run in this version".to_owned(),
        ));
    }
    let plan = (architecture.plan)(config)?;
    check(config, &plan)?;
    Ok((architecture, plan))
}

/// Says whether the model was trained to score its input: its hidden states are no embeddings.
fn is_classifier(config: &Settings) -> bool {
    let names = config.get(&["architectures"]).and_then(Value::as_array);
    names.is_some_and(|names| {
        let mut names = names.iter().filter_map(Value::as_str);
        names.any(|name| name.ends_with("ForSequenceClassification"))
    })
}

/// Returns the error for a `model_type` that no architecture serves.
fn unsupported(model_type: &str) -> Error {
    Error::Unsupported(format!("architecture '{model_type}' cannot run in this version"))
}

/// Checks what every plan must hold.
fn check(config: &Settings, plan: &Plan) -> Result<(), Error> {
    if plan.positions.rows() == 0 && plan.token_types > 0 {
        return Err(config.error("token types without a position table are not built"));
    }
    if !plan.heads.is_multiple_of(plan.kv_heads) {
        let (heads, groups) = (plan.heads, plan.kv_heads);
        return Err(config.error(format!("{heads} heads do not split into {groups} groups")));
    }
    if plan.query_width() > most::WIDTH {
        return Err(config.error(format!("all heads are wider than {}", most::WIDTH)));
    }
    match plan.positions {
        Positions::Learned { rows, first } if first >= rows => {
            Err(config.error("the position table has no row for a token"))
        }
        Positions::Rotary { .. } if !plan.head_size.is_multiple_of(2) => {
            Err(config.error(format!("a head of size {} has no pairs to turn", plan.head_size)))
        }
        _ => Ok(()),
    }
}

/// Returns the width of a head where all heads together are as wide as a hidden state.
fn head_size(config: &Settings, hidden: usize, heads: usize) -> Result<usize, Error> {
    if hidden.is_multiple_of(heads) {
        return Ok(hidden / heads);
    }
    Err(config.error(format!("hidden size {hidden} does not split into {heads} heads")))
}

/// Stands for the name of a slot that no plan of an architecture has.
fn absent(slot: Slot) -> String {
    unreachable!("no plan of this architecture has a place {slot:?}")
}

/// Returns the activation that the configuration names.
fn activation(config: &Settings, key: &str, default: &str) -> Result<Activation, Error> {
    let name = config.text(&[key]).unwrap_or(default);
    Activation::parse(name).ok_or_else(|| {
        Error::Unsupported(format!("activation '{name}' cannot run in this version"))
    })
}

/// Refuses position schemes other than the learned table.
fn learned_positions(config: &Settings) -> Result<(), Error> {
    match config.text(&["position_embedding_type"]).unwrap_or("absolute") {
        "absolute" => Ok(()),
        other => Err(Error::Unsupported(format!(
            "position embedding '{other}' cannot run in this version"
        ))),
    }
}

/// Returns the base of rotary positions: `rope_parameters` since transformers 5, before that `rope_theta` with
/// `rope_scaling` beside it. Scaled forms are refused, because they are other positions.
fn rotary_base(config: &Settings) -> Result<f64, Error> {
    let settings = config.get(&["rope_scaling"]).or_else(|| config.get(&["rope_parameters"]));
    let setting = |key: &str| settings.and_then(|settings| settings.get(key));
    let kind = setting("rope_type").or_else(|| setting("type"));
    let kind = kind.map_or(Some("default"), Value::as_str).unwrap_or("of no name");
    if kind != "default" {
        return Err(Error::Unsupported(format!(
            "rotary positions '{kind}' cannot run in this version"
        )));
    }
    let base = setting("rope_theta").or_else(|| config.get(&["rope_theta"]));
    let base = base.map_or(Some(10_000.0), Value::as_f64).filter(|base| *base >= 1.0);
    base.ok_or_else(|| config.error("'rope_theta' is no number from 1"))
}
