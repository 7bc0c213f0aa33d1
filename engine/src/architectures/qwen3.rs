//! Qwen3, as an embedder: a causal decoder with grouped, normalised and turned heads and a gated feed-forward layer.

use serde_json::Value;

use super::{Architecture, Slot, absent, activation, rotary_base};
use crate::{
    Error, Plan,
    plan::{NormKind, Placement, Positions, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture { model_types: &["qwen3"], plan, stem };

fn plan(config: &Settings) -> Result<Plan, Error> {
    let layers = config.size(&["num_hidden_layers"], most::LAYERS)?;
    let heads = config.size(&["num_attention_heads"], most::WIDTH)?;
    let context = config.size_or(&["max_position_embeddings"], 32768, most::POSITIONS)?;
    refuse_what_is_not_built(config, layers, context)?;
    Ok(Plan {
        architecture: "qwen3".to_owned(),
        hidden: config.size(&["hidden_size"], most::WIDTH)?,
        layers,
        heads,
        kv_heads: config.size_or(&["num_key_value_heads"], heads, most::WIDTH)?,
        // Not the width divided by the heads: transformers has this default too.
        head_size: config.size_or(&["head_dim"], 128, most::WIDTH)?,
        head_norm: true,
        causal: config.get(&["is_causal"]) != Some(&Value::Bool(false)),
        inner: config.size(&["intermediate_size"], most::WIDTH)?,
        activation: activation(config, "hidden_act", "silu")?,
        gated: true,
        biases: false,
        norm: NormKind::Rms,
        placement: Placement::Before,
        epsilon: config.number(&["rms_norm_eps"]).unwrap_or(1e-6),
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: Positions::Rotary { base: rotary_base(config)?, context },
        token_types: 0,
        embedding_norm: false,
    })
}

fn refuse_what_is_not_built(config: &Settings, layers: usize, context: usize) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::Unsupported(format!("{what} cannot run in this version")));
    if config.flag(&["attention_bias"]) {
        return refuse("attention biases");
    }
    if config.flag(&["use_bidirectional_attention"]) {
        return refuse("bidirectional attention of a causal model");
    }
    let window = config.number(&["sliding_window"]);
    if slides(config, layers) && window.is_none_or(|window| window < context as f64) {
        return refuse("a sliding window");
    }
    Ok(())
}

/// Says whether any layer would use the sliding window.
fn slides(config: &Settings, layers: usize) -> bool {
    match config.get(&["layer_types"]).and_then(Value::as_array) {
        Some(kinds) => kinds.iter().any(|kind| kind != "full_attention"),
        None => {
            let first = config.number(&["max_window_layers"]).unwrap_or(28.0);
            config.flag(&["use_sliding_window"]) && first < layers as f64
        }
    }
}

fn stem(slot: Slot) -> String {
    let layer = |layer: usize, name: &str| format!("layers.{layer}.{name}");
    match slot {
        Slot::TokenTable => "embed_tokens".to_owned(),
        Slot::AttentionNorm(l) => layer(l, "input_layernorm"),
        Slot::Query(l) => layer(l, "self_attn.q_proj"),
        Slot::Key(l) => layer(l, "self_attn.k_proj"),
        Slot::Value(l) => layer(l, "self_attn.v_proj"),
        Slot::QueryNorm(l) => layer(l, "self_attn.q_norm"),
        Slot::KeyNorm(l) => layer(l, "self_attn.k_norm"),
        Slot::AttentionOutput(l) => layer(l, "self_attn.o_proj"),
        Slot::OutputNorm(l) => layer(l, "post_attention_layernorm"),
        Slot::Gate(l) => layer(l, "mlp.gate_proj"),
        Slot::Up(l) => layer(l, "mlp.up_proj"),
        Slot::Down(l) => layer(l, "mlp.down_proj"),
        Slot::FinalNorm => "norm".to_owned(),
        other => absent(other),
    }
}
