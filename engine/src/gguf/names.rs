//! How the tensors of an architecture are called, and what is different of them, where they lie in a GGUF file.
//!
//! The names are those of llama.cpp. All architectures share them, so they stand here once.

use std::collections::{BTreeMap, BTreeSet};

use super::Place;
use crate::{
    Plan,
    architectures::{Architecture, Slot, absent},
    plan::{Biases, NormKind, Placement, ProjectionNorm},
};

/// Tensors that no encoder reads: the layer that predicts tokens, and what follows the pooling.
const OTHERS: [&str; 7] =
    ["output", "cls", "cls.output", "dense_2", "dense_3", "dense.0", "dense.1"];

/// Takes an architecture and its plan to a file with these tensors.
pub(super) fn adapt(
    found: Architecture,
    plan: Plan,
    tensors: &BTreeMap<String, Place>,
) -> (Architecture, Plan) {
    let has = |name: &str| tensors.contains_key(name);
    let is_t5 = has("enc.blk.0.attn_q.weight");
    let stem = match (has("blk.0.attn_qkv.weight"), plan.gated && !has("blk.0.ffn_gate.weight")) {
        _ if is_t5 => of_t5,
        (false, false) => stem::<false, false>,
        (false, true) => stem::<false, true>,
        (true, false) => stem::<true, false>,
        (true, true) => stem::<true, true>,
    };
    let bias = |name: &str| tensors.keys().any(|tensor| tensor.ends_with(name));
    let biases = Biases {
        projection: bias(".attn_q.bias") || bias(".attn_qkv.bias"),
        output: bias(".attn_output.bias"),
        up: bias(".ffn_up.bias"),
        down: bias(".ffn_down.bias"),
    };
    // Converters add the 1.
    let norm = match plan.norm {
        NormKind::RmsLessOne => NormKind::Rms,
        other => other,
    };
    (found.named(stem), Plan { biases, norm, ..plan })
}

/// Returns a tensor that the plan has no place for: a file that holds one means something else than the plan.
pub(super) fn stray<'a>(
    architecture: &Architecture,
    plan: &Plan,
    mut tensors: impl Iterator<Item = &'a String>,
) -> Option<&'a String> {
    let stems: BTreeSet<String> =
        slots(plan).into_iter().map(|slot| architecture.stem(slot, plan)).collect();
    tensors.find(|tensor| {
        let stem = tensor.rsplit_once('.').map_or(tensor.as_str(), |(stem, _)| stem);
        !stems.contains(stem) && !OTHERS.contains(&stem)
    })
}

/// Lists the places that a plan has.
fn slots(plan: &Plan) -> Vec<Slot> {
    let around = plan.placement == Placement::Around;
    let distances = plan.distances.is_some_and(|distances| distances.buckets() > 0);
    let normal = plan.projection_norm != ProjectionNorm::None;
    let mut slots = vec![(true, Slot::TokenTable)];
    slots.push((plan.positions.rows() > 0, Slot::PositionTable));
    slots.push((plan.token_types > 0, Slot::TypeTable));
    slots.push((plan.embedding_norm, Slot::EmbeddingNorm));
    slots.push((distances, Slot::DistanceTable));
    slots.push((!plan.placement.is_after(), Slot::FinalNorm));
    for l in 0..plan.layers {
        slots.extend([Slot::Query(l), Slot::Key(l), Slot::Value(l)].map(|slot| (true, slot)));
        slots.extend([Slot::QueryNorm(l), Slot::KeyNorm(l)].map(|slot| (normal, slot)));
        slots.extend(
            [Slot::AttentionOutput(l), Slot::Up(l), Slot::Down(l)].map(|slot| (true, slot)),
        );
        slots.push((plan.gated, Slot::Gate(l)));
        slots.push((plan.has_attention_norm(l), Slot::AttentionNorm(l)));
        slots.push((true, Slot::OutputNorm(l)));
        slots.extend(
            [Slot::AttentionAfterNorm(l), Slot::OutputAfterNorm(l)].map(|slot| (around, slot)),
        );
    }
    slots.into_iter().filter(|(there, _)| *there).map(|(_, slot)| slot).collect()
}

/// Names the tensor of a slot; the projections share one where they are `FUSED`, and so do the layers into a gated
/// feed-forward layer where they are a `PAIR`.
fn stem<const FUSED: bool, const PAIR: bool>(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("blk.{layer}.{name}");
    let after = plan.placement.is_after();
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
        Slot::DistanceTable => "attn_rel_b".to_owned(),
        other => absent(other),
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
