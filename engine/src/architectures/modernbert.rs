//! ModernBERT (gte-modernbert, mmBERT, granite-embedding r2): norms before, turned heads, windows in most layers.

use super::{Architecture, Slot, absent, activation, head_size, layer_kinds, rotary, turned};
use crate::{
    Error, Plan,
    plan::{Biases, NormKind, Placement, Positions, Window, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["modernbert"],
    gate_first: true,
    plan,
    stem,
    ..Architecture::NONE
};

fn plan(config: &Settings) -> Result<Plan, Error> {
    let hidden = config.size(&["hidden_size"], most::WIDTH)?;
    let heads = config.size(&["num_attention_heads"], most::WIDTH)?;
    let head_size = head_size(config, hidden, heads)?;
    let layers = config.size(&["num_hidden_layers"], most::LAYERS)?;
    let [attention, inner] = [config.flag(&["attention_bias"]), config.flag(&["mlp_bias"])];
    let turns = |key: &str, kind: &str, base: f64| match config.get(&[key]) {
        Some(_) => turned(config, key, head_size),
        None => rotary(config, head_size, Some(kind), base),
    };
    Ok(Plan {
        hidden,
        layers,
        head_size,
        window: Some(window(config, layers)?),
        scale: (head_size as f32).sqrt().recip(),
        inner: config.size(&["intermediate_size"], most::WIDTH)?,
        activation: activation(config, &["hidden_activation"], "gelu")?,
        gated: true,
        biases: Biases { projection: attention, output: attention, up: inner, down: inner },
        norm: if config.flag(&["norm_bias"]) { NormKind::Layer } else { NormKind::Unbiased },
        placement: Placement::Before,
        bare_start: true,
        epsilon: config.positive(&["norm_eps", "layer_norm_eps"], 1e-5)?,
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: Positions::Rotary {
            frequencies: turns("global_rope_theta", "full_attention", 160_000.0)?,
            near: Some(turns("local_rope_theta", "sliding_attention", 10_000.0)?),
            context: config.size_or(&["max_position_embeddings"], 8192, most::POSITIONS)?,
        },
        token_types: 0,
        ..Plan::new(config, heads)
    })
}

/// Returns the windows: of all layers but every third, where the configuration does not name them.
fn window(config: &Settings, layers: usize) -> Result<Window, Error> {
    let every = config.size_or(&["global_attn_every_n_layers"], 3, most::LAYERS)?;
    let slides = layer_kinds(config, layers, |layer| !layer.is_multiple_of(every))?;
    let tokens = config.size_or(&["local_attention"], 128, most::POSITIONS)?;
    Ok(Window { layers: slides, reach: tokens / 2 })
}

fn stem(slot: Slot, _: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("layers.{layer}.{name}");
    match slot {
        Slot::TokenTable => "embeddings.tok_embeddings".to_owned(),
        Slot::EmbeddingNorm => "embeddings.norm".to_owned(),
        Slot::AttentionNorm(l) => layer(l, "attn_norm"),
        Slot::Query(l) | Slot::Key(l) | Slot::Value(l) => layer(l, "attn.Wqkv"),
        Slot::AttentionOutput(l) => layer(l, "attn.Wo"),
        Slot::OutputNorm(l) => layer(l, "mlp_norm"),
        Slot::Gate(l) | Slot::Up(l) => layer(l, "mlp.Wi"),
        Slot::Down(l) => layer(l, "mlp.Wo"),
        Slot::FinalNorm => "final_norm".to_owned(),
        other => absent(other),
    }
}
