//! Llama, as an embedder: a causal decoder with grouped, turned heads and a gated feed-forward layer.

use serde_json::Value;

use super::{Architecture, Slot, absent, activation, layer_kinds, rotary};
use crate::{
    Error, Plan,
    plan::{Biases, NormKind, Placement, Positions, Window, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["llama"], plan, stem, ..Architecture::NONE };

/// Computes the plan; the decoders that came after it share most of it.
pub(super) fn plan(config: &Settings) -> Result<Plan, Error> {
    let hidden = config.size(&["hidden_size"], most::WIDTH)?;
    let heads = config.size(&["num_attention_heads"], most::WIDTH)?;
    let head_size = config.size_or(&["head_dim"], (hidden / heads).max(1), most::WIDTH)?;
    let context = config.size_or(&["max_position_embeddings"], 2048, most::POSITIONS)?;
    let frequencies = rotary(config, head_size, None, 10_000.0)?;
    let [attention, inner] = [config.flag(&["attention_bias"]), config.flag(&["mlp_bias"])];
    Ok(Plan {
        hidden,
        layers: config.size(&["num_hidden_layers"], most::LAYERS)?,
        kv_heads: config.size_or(&["num_key_value_heads"], heads, most::WIDTH)?,
        head_size,
        causal: config.get(&["is_causal"]) != Some(&Value::Bool(false)),
        scale: (head_size as f32).sqrt().recip(),
        inner: config.size(&["intermediate_size"], most::WIDTH)?,
        activation: activation(config, &["hidden_act"], "silu")?,
        gated: true,
        biases: Biases { projection: attention, output: attention, up: inner, down: inner },
        norm: NormKind::Rms,
        placement: Placement::Before,
        epsilon: config.positive(&["rms_norm_eps"], 1e-6)?,
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: Positions::Rotary { frequencies, near: None, context },
        token_types: 0,
        embedding_norm: false,
        ..Plan::new(config, heads)
    })
}

/// Returns the window of a causal decoder whose configuration names the layers that have one; `named` says which do
/// where it names none.
pub(super) fn window(
    config: &Settings,
    layers: usize,
    named: impl Fn(usize) -> bool,
) -> Result<Option<Window>, Error> {
    let slides = layer_kinds(config, layers, named)?;
    if config.get(&["sliding_window"]).is_none() || !slides.contains(&true) {
        return Ok(None);
    }
    let tokens = config.size(&["sliding_window"], most::POSITIONS)?;
    Ok(Some(Window { layers: slides, reach: tokens - 1 }))
}

/// Names the tensors as transformers does.
pub(super) fn stem(slot: Slot, _: &Plan) -> String {
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
