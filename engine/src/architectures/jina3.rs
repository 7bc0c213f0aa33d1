//! Jina embeddings v3, with its adapters merged: a BERT with turned heads, under Nomic's names.

use super::{Architecture, Slot, bert, nomic, rotary};
use crate::{Error, Plan, plan::Positions, settings::Settings};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["jina_embeddings_v3"], plan, stem, ..Architecture::NONE };

fn plan(config: &Settings) -> Result<Plan, Error> {
    let plan = bert::base(config)?;
    let positions = Positions::Rotary {
        frequencies: rotary(config, plan.head_size, None, 20_000.0)?,
        near: None,
        context: plan.context_length(),
    };
    let epsilon = config.positive(&["layer_norm_eps"], 1e-5)?;
    Ok(Plan { positions, epsilon, ..plan })
}

/// Names the tensors.
pub(super) fn stem(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layers.{layer}.{name}");
    match slot {
        Slot::Query(l) | Slot::Key(l) | Slot::Value(l) => layer(l, "mixer.Wqkv"),
        Slot::AttentionOutput(l) => layer(l, "mixer.out_proj"),
        Slot::Up(l) => layer(l, "mlp.fc1"),
        Slot::Down(l) => layer(l, "mlp.fc2"),
        other => nomic::stem(other, plan),
    }
}
