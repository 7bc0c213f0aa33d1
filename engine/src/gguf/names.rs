//! How the tensors of an architecture are called, and what is different of them, where they lie in a GGUF file.
//!
//! The names are those of llama.cpp. All architectures share them, so they stand here once.

use crate::{
    Plan,
    architectures::{Architecture, Slot, absent},
    plan::{Biases, NormKind, Placement},
};

/// Takes an architecture and its plan to a file in which `has` finds tensors.
pub(super) fn adapt(
    found: Architecture,
    plan: Plan,
    has: impl Fn(&str) -> bool,
) -> (Architecture, Plan) {
    let is_t5 = has("enc.blk.0.attn_q.weight");
    let stem = match (has("blk.0.attn_qkv.weight"), plan.gated && !has("blk.0.ffn_gate.weight")) {
        _ if is_t5 => of_t5,
        (false, false) => stem::<false, false>,
        (false, true) => stem::<false, true>,
        (true, false) => stem::<true, false>,
        (true, true) => stem::<true, true>,
    };
    let bias = |names: &[&str]| names.iter().any(|name| has(&format!("blk.0.{name}.bias")));
    let biases = Biases {
        projection: bias(&["attn_q", "attn_qkv"]),
        output: bias(&["attn_output"]),
        up: bias(&["ffn_up"]),
        down: bias(&["ffn_down"]),
    };
    // Converters add the 1.
    let norm = match plan.norm {
        NormKind::RmsLessOne => NormKind::Rms,
        other => other,
    };
    (found.named(stem), Plan { biases, norm, ..plan })
}

/// Names the tensor of a slot; the projections share one where they are `FUSED`, and so do the layers into a gated
/// feed-forward layer where they are a `PAIR`.
fn stem<const FUSED: bool, const PAIR: bool>(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("blk.{layer}.{name}");
    let after = plan.placement == Placement::After;
    match slot {
        Slot::TokenTable => "token_embd".to_owned(),
        Slot::PositionTable => "position_embd".to_owned(),
        Slot::TypeTable => "token_types".to_owned(),
        Slot::EmbeddingNorm => "token_embd_norm".to_owned(),
        Slot::Query(l) | Slot::Key(l) | Slot::Value(l) if FUSED => layer(l, "attn_qkv"),
        Slot::Query(l) => layer(l, "attn_q"),
        Slot::Key(l) => layer(l, "attn_k"),
        Slot::Value(l) => layer(l, "attn_v"),
        Slot::QueryNorm(l) => layer(l, "attn_q_norm"),
        Slot::KeyNorm(l) => layer(l, "attn_k_norm"),
        Slot::AttentionOutput(l) => layer(l, "attn_output"),
        Slot::AttentionNorm(l) if after => layer(l, "attn_output_norm"),
        Slot::AttentionNorm(l) => layer(l, "attn_norm"),
        Slot::AttentionAfterNorm(l) => layer(l, "post_attention_norm"),
        Slot::Gate(l) if PAIR => layer(l, "ffn_up"),
        Slot::Gate(l) => layer(l, "ffn_gate"),
        Slot::Up(l) => layer(l, "ffn_up"),
        Slot::Down(l) => layer(l, "ffn_down"),
        Slot::OutputNorm(l) if after => layer(l, "layer_output_norm"),
        Slot::OutputNorm(l) => layer(l, "ffn_norm"),
        Slot::OutputAfterNorm(l) => layer(l, "post_ffw_norm"),
        Slot::FinalNorm => "output_norm".to_owned(),
        other @ Slot::DistanceTable => absent(other),
    }
}

/// Names the tensors of T5's encoder.
fn of_t5(slot: Slot, plan: &Plan) -> String {
    match slot {
        Slot::TokenTable => "token_embd".to_owned(),
        Slot::FinalNorm => "enc.output_norm".to_owned(),
        Slot::DistanceTable => "enc.blk.0.attn_rel_b".to_owned(),
        Slot::AttentionOutput(l) => format!("enc.blk.{l}.attn_o"),
        other => format!("enc.{}", stem::<false, false>(other, plan)),
    }
}
