//! MPNet: BERT without token types, with numbers for distances, under other names.

use super::{Architecture, Slot, bert, roberta};
use crate::{Error, Plan, positions::Distances, settings::Settings};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["mpnet"], plan, stem, ..Architecture::NONE };

/// From here on distances are all the same, says transformers' code.
const FARTHEST: usize = 128;

fn plan(config: &Settings) -> Result<Plan, Error> {
    let buckets = config.size_or(&["relative_attention_num_buckets"], 32, 1 << 16)?;
    let distances = Some(Distances::Buckets { buckets, farthest: FARTHEST });
    Ok(Plan { token_types: 0, distances, ..roberta::plan(config)? })
}

fn stem(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layer.{layer}.attention.{name}");
    match slot {
        Slot::DistanceTable => "encoder.relative_attention_bias".to_owned(),
        Slot::Query(l) => layer(l, "attn.q"),
        Slot::Key(l) => layer(l, "attn.k"),
        Slot::Value(l) => layer(l, "attn.v"),
        Slot::AttentionOutput(l) => layer(l, "attn.o"),
        Slot::AttentionNorm(l) => layer(l, "LayerNorm"),
        other => bert::stem(other, plan),
    }
}
