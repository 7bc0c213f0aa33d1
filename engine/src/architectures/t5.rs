//! The encoder of T5 (gtr-t5, sentence-t5, flan-t5, Instructor): norms before, numbers for distances, nothing scaled.

use super::{Architecture, Slot, absent};
use crate::{
    Error, Plan,
    plan::{Activation, Biases, NormKind, Placement, Positions, most},
    positions::Distances,
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["t5"], plan, stem, ..Architecture::NONE };

/// It has no table of positions; more than it was ever asked for.
const CONTEXT: usize = 8192;

fn plan(config: &Settings) -> Result<Plan, Error> {
    let heads = config.size(&["num_heads"], most::WIDTH)?;
    let (activation, gated) = feed_forward(config)?;
    Ok(Plan {
        hidden: config.size(&["d_model"], most::WIDTH)?,
        layers: config.size(&["num_layers"], most::LAYERS)?,
        head_size: config.size(&["d_kv"], most::WIDTH)?,
        scale: 1.0,
        distances: Some(Distances::Buckets {
            buckets: config.size_or(&["relative_attention_num_buckets"], 32, 1 << 16)?,
            farthest: config.size_or(&["relative_attention_max_distance"], 128, 1 << 20)?,
        }),
        inner: config.size(&["d_ff"], most::WIDTH)?,
        activation,
        gated,
        biases: Biases::NONE,
        norm: NormKind::Rms,
        placement: Placement::Before,
        epsilon: config.positive(&["layer_norm_epsilon"], 1e-6)?,
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: Positions::None { context: CONTEXT },
        token_types: 0,
        embedding_norm: false,
        ..Plan::new(config, heads)
    })
}

/// Reads `relu`, `gated-gelu` and the like.
fn feed_forward(config: &Settings) -> Result<(Activation, bool), Error> {
    let name = config.text(&["feed_forward_proj"]).unwrap_or("relu");
    let gated = name.strip_prefix("gated-");
    // By this name transformers means the tanh form.
    let found = match gated {
        Some("gelu") => Some(Activation::GeluTanh),
        Some(inner) => Activation::parse(inner),
        None => Activation::parse(name),
    };
    let unknown = || Error::Unsupported(format!("activation '{name}' cannot run in this version"));
    Ok((found.ok_or_else(unknown)?, gated.is_some()))
}

fn stem(slot: Slot, plan: &Plan) -> String {
    let part = |layer: usize, name: &str| format!("encoder.block.{layer}.layer.{name}");
    match slot {
        Slot::TokenTable => "shared".to_owned(),
        Slot::DistanceTable => part(0, "0.SelfAttention.relative_attention_bias"),
        Slot::AttentionNorm(l) => part(l, "0.layer_norm"),
        Slot::Query(l) => part(l, "0.SelfAttention.q"),
        Slot::Key(l) => part(l, "0.SelfAttention.k"),
        Slot::Value(l) => part(l, "0.SelfAttention.v"),
        Slot::AttentionOutput(l) => part(l, "0.SelfAttention.o"),
        Slot::OutputNorm(l) => part(l, "1.layer_norm"),
        Slot::Gate(l) => part(l, "1.DenseReluDense.wi_0"),
        Slot::Up(l) if plan.gated => part(l, "1.DenseReluDense.wi_1"),
        Slot::Up(l) => part(l, "1.DenseReluDense.wi"),
        Slot::Down(l) => part(l, "1.DenseReluDense.wo"),
        Slot::FinalNorm => "encoder.final_layer_norm".to_owned(),
        other => absent(other),
    }
}
