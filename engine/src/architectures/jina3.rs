//! Jina embeddings v3, with its adapters merged: a BERT with turned heads, under Nomic's names.

use super::{Architecture, Slot, absent, bert, head_size, rotary};
use crate::{Error, Plan, plan::Positions, settings::Settings};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["jina_embeddings_v3"], plan, stem, ..Architecture::NONE };

fn plan(config: &Settings) -> Result<Plan, Error> {
    let plan = bert::base(config)?;
    let head_size = head_size(config, plan.hidden, plan.heads)?;
    let positions = Positions::Rotary {
        frequencies: rotary(config, head_size, None, 20_000.0)?,
        near: None,
        context: plan.context_length(),
    };
    let epsilon = config.positive(&["layer_norm_eps"], 1e-5)?;
    Ok(Plan { positions, epsilon, ..plan })
}

fn stem(slot: Slot, _: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layers.{layer}.{name}");
    match slot {
        Slot::TokenTable => "embeddings.word_embeddings".to_owned(),
        Slot::TypeTable => "embeddings.token_type_embeddings".to_owned(),
        Slot::EmbeddingNorm => "emb_ln".to_owned(),
        Slot::Query(l) | Slot::Key(l) | Slot::Value(l) => layer(l, "mixer.Wqkv"),
        Slot::AttentionOutput(l) => layer(l, "mixer.out_proj"),
        Slot::AttentionNorm(l) => layer(l, "norm1"),
        Slot::Up(l) => layer(l, "mlp.fc1"),
        Slot::Down(l) => layer(l, "mlp.fc2"),
        Slot::OutputNorm(l) => layer(l, "norm2"),
        other => absent(other),
    }
}
