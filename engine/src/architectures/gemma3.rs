//! Gemma 3, as EmbeddingGemma uses it: norms on both sides, windows in most layers, looking both ways.

use super::{Architecture, Slot, activation, llama, rotary, turned};
use crate::{
    Error, Plan,
    plan::{NormKind, Placement, Positions, ProjectionNorm, Window, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["gemma3_text"], plan, stem, ..Architecture::NONE };

fn plan(config: &Settings) -> Result<Plan, Error> {
    for cap in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if config.get(&[cap]).is_some() {
            return Err(Error::Unsupported(format!("'{cap}' cannot run in this version")));
        }
    }
    let plan = llama::plan(config)?;
    let head_size = config.size_or(&["head_dim"], 256, most::WIDTH)?;
    let context = config.size_or(&["max_position_embeddings"], 131_072, most::POSITIONS)?;
    let scale = config.positive(&["query_pre_attn_scalar"], 256.0)?;
    let both_ways = config.flag(&["use_bidirectional_attention"]);
    Ok(Plan {
        head_size,
        projection_norm: ProjectionNorm::Heads,
        causal: !both_ways,
        scale: scale.powf(-0.5) as f32,
        window: window(config, plan.layers, both_ways)?,
        activation: activation(config, &["hidden_activation", "hidden_act"], "gelu_pytorch_tanh")?,
        norm: NormKind::RmsLessOne,
        placement: Placement::Around,
        embedding_scale: (plan.hidden as f32).sqrt(),
        positions: Positions::Rotary {
            frequencies: rotary(config, head_size, Some("full_attention"), 1_000_000.0)?,
            near: Some(near(config, head_size)?),
            context,
        },
        ..plan
    })
}

/// Returns the windows: without `layer_types` all layers but every sixth have one. One that looks both ways reaches
/// half as far to each side.
fn window(config: &Settings, layers: usize, both_ways: bool) -> Result<Option<Window>, Error> {
    let pattern = ["sliding_window_pattern", "_sliding_window_pattern"];
    let pattern = config.size_or(&pattern, 6, most::LAYERS)?;
    let window = llama::window(config, layers, |layer| !(layer + 1).is_multiple_of(pattern))?;
    let reach = |reach: usize| if both_ways { reach.div_ceil(2) } else { reach };
    Ok(window.map(|window| Window { reach: reach(window.reach), ..window }))
}

/// Returns the frequencies of layers with a window, which before transformers 5 had a key of their own.
fn near(config: &Settings, head_size: usize) -> Result<Vec<f32>, Error> {
    match config.get(&["rope_local_base_freq"]) {
        Some(_) => turned(config, "rope_local_base_freq", head_size),
        None => rotary(config, head_size, Some("sliding_attention"), 10_000.0),
    }
}

fn stem(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("layers.{layer}.{name}");
    match slot {
        Slot::AttentionAfterNorm(l) => layer(l, "post_attention_layernorm"),
        Slot::OutputNorm(l) => layer(l, "pre_feedforward_layernorm"),
        Slot::OutputAfterNorm(l) => layer(l, "post_feedforward_layernorm"),
        other => llama::stem(other, plan),
    }
}
