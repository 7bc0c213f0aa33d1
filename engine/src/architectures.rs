//! Which `model_type`s can run: the table that a new architecture adds a line to.

mod bert;
mod distilbert;
mod roberta;

use crate::{Error, Plan, plan::Activation, settings::Settings};

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
    AttentionOutput(usize),
    AttentionNorm(usize),
    Up(usize),
    Down(usize),
    OutputNorm(usize),
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
    &[bert::ARCHITECTURE, distilbert::ARCHITECTURE, roberta::ARCHITECTURE];

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
    let names = config.get(&["architectures"]).and_then(serde_json::Value::as_array);
    names.is_some_and(|names| {
        let mut names = names.iter().filter_map(serde_json::Value::as_str);
        names.any(|name| name.ends_with("ForSequenceClassification"))
    })
}

/// Returns the error for a `model_type` that no architecture serves.
fn unsupported(model_type: &str) -> Error {
    Error::Unsupported(format!("architecture '{model_type}' cannot run in this version"))
}

/// Checks what every plan must hold.
fn check(config: &Settings, plan: &Plan) -> Result<(), Error> {
    if !plan.hidden.is_multiple_of(plan.heads) {
        return Err(config.error(format!(
            "hidden size {} does not split into {} heads",
            plan.hidden, plan.heads
        )));
    }
    if plan.first_position >= plan.positions {
        return Err(config.error("the position table has no row for a token"));
    }
    Ok(())
}

/// Returns the activation that the configuration names, exact GELU by default.
fn activation(config: &Settings, key: &str) -> Result<Activation, Error> {
    let name = config.text(&[key]).unwrap_or("gelu");
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
