//! Jina embeddings v2 (en, de, es, zh): a BERT that knows only distances, with a gated feed-forward layer.

use super::{Architecture, Slot, bert};
use crate::{
    Error, Plan,
    plan::{Biases, Positions, most},
    positions::Distances,
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["bert"],
    own_code: &["JinaBertModel", "JinaBertForMaskedLM"],
    images: None,
    gate_first: true,
    plan,
    stem,
};

/// Computes the plan; the one for code shares most of it.
pub(super) fn plan(config: &Settings) -> Result<Plan, Error> {
    let refuse =
        |what: String| Err(Error::Unsupported(format!("{what} cannot run in this version")));
    match config.text(&["feed_forward_type"]).unwrap_or("original") {
        "geglu" => {}
        other => return refuse(format!("feed-forward layer '{other}'")),
    }
    match config.text(&["position_embedding_type"]).unwrap_or("absolute") {
        "alibi" => {}
        other => return refuse(format!("position embedding '{other}'")),
    }
    let context = config.size_or(&["max_position_embeddings"], 8192, most::POSITIONS)?;
    Ok(Plan {
        gated: true,
        biases: Biases { up: false, ..Biases::ALL },
        distances: Some(Distances::Slopes),
        positions: Positions::None { context },
        ..bert::base(config)?
    })
}

fn stem(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layer.{layer}.mlp.{name}");
    match slot {
        Slot::Up(l) | Slot::Gate(l) => layer(l, "gated_layers"),
        Slot::Down(l) => layer(l, "wo"),
        Slot::OutputNorm(l) => layer(l, "layernorm"),
        other => bert::stem(other, plan),
    }
}
