//! Jina embeddings v2 for code: queries and keys have norms, and the input of attention is added twice.

use super::{Architecture, Slot, bert, jina2};
use crate::{
    Error, Plan,
    plan::{Placement, ProjectionNorm},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["bert"],
    own_code: &[
        "jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel",
        "jina-bert-v2-qk-post-norm--modeling_bert.JinaBertForMaskedLM",
    ],
    plan,
    stem,
    ..Architecture::NONE
};

fn plan(config: &Settings) -> Result<Plan, Error> {
    Ok(Plan {
        projection_norm: ProjectionNorm::Whole,
        placement: Placement::Twice,
        ..jina2::plan(config)?
    })
}

fn stem(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layer.{layer}.{name}");
    match slot {
        Slot::QueryNorm(l) => layer(l, "attention.self.layer_norm_q"),
        Slot::KeyNorm(l) => layer(l, "attention.self.layer_norm_k"),
        Slot::AttentionAfterNorm(l) => layer(l, "layer_norm_1"),
        Slot::Up(l) | Slot::Gate(l) => layer(l, "mlp.up_gated_layer"),
        Slot::Down(l) => layer(l, "mlp.down_layer"),
        Slot::OutputNorm(l) => layer(l, "layer_norm_2"),
        other => bert::stem(other, plan),
    }
}
