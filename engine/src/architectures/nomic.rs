//! Nomic BERT: a BERT with turned heads, in v1 and v1.5 with a gated feed-forward layer, in v2 with experts.

use super::{Architecture, Slot, absent, activation, head_size, rotary, turned};
use crate::{
    Error, Plan,
    plan::{Activation, Biases, Experts, Positions, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["nomic_bert"],
    own_code: &["NomicBertModel"],
    plan,
    stem,
    ..Architecture::NONE
};

fn plan(config: &Settings) -> Result<Plan, Error> {
    refuse_what_is_not_built(config)?;
    let hidden = config.size(&["hidden_size", "n_embd"], most::WIDTH)?;
    let heads = config.size(&["num_attention_heads", "n_head"], most::WIDTH)?;
    let head_size = head_size(config, hidden, heads)?;
    let frequencies = match config.get(&["rotary_emb_base"]) {
        Some(_) => turned(config, "rotary_emb_base", head_size)?,
        None => rotary(config, head_size, None, 1000.0)?,
    };
    let layers = config.size(&["num_hidden_layers", "n_layer"], most::LAYERS)?;
    let (activation, gated) = feed_forward(config)?;
    Ok(Plan {
        hidden,
        layers,
        head_size,
        scale: (head_size as f32).sqrt().recip(),
        inner: config.size(&["intermediate_size", "n_inner"], most::WIDTH)?,
        activation,
        gated,
        experts: experts(config, layers)?,
        biases: Biases {
            projection: config.flag(&["qkv_proj_bias"]),
            output: config.flag(&["qkv_proj_bias"]),
            up: config.flag(&["mlp_fc1_bias"]),
            down: config.flag(&["mlp_fc2_bias"]),
        },
        epsilon: config.positive(&["layer_norm_eps", "layer_norm_epsilon"], 1e-12)?,
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: Positions::Rotary {
            near: None,
            frequencies,
            context: config.size_or(&context_keys(config), 2048, most::POSITIONS)?,
        },
        token_types: config.size_or(&["type_vocab_size"], 2, most::POSITIONS)?,
        ..Plan::new(config, heads)
    })
}

/// Returns what says how many tokens fit: of a model whose angles change for longer texts, how many do before.
fn context_keys(config: &Settings) -> [&'static str; 2] {
    match config.get(&["rotary_scaling_factor"]) {
        Some(_) => ["max_trained_positions", "n_positions"],
        None => ["max_position_embeddings", "n_positions"],
    }
}

fn refuse_what_is_not_built(config: &Settings) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::Unsupported(format!("{what} cannot run in this version")));
    if config.number(&["rotary_emb_fraction"]).is_some_and(|part| part != 1.0) {
        return refuse("heads that are turned in part");
    }
    for key in [
        "prenorm",
        "parallel_block",
        "use_rms_norm",
        "rotary_emb_interleaved",
        "causal",
        "expert_choice_router",
        "moe_normalize_expert_weights",
    ] {
        if config.flag(&[key]) {
            return refuse(&format!("'{key}'"));
        }
    }
    if config.number(&["num_shared_experts"]).is_some_and(|n| n > 0.0) {
        return refuse("experts that all tokens share");
    }
    Ok(())
}

/// Reads the activation, and whether layers without experts have a gate.
fn feed_forward(config: &Settings) -> Result<(Activation, bool), Error> {
    match config.text(&["activation_function"]).unwrap_or("swiglu") {
        "swiglu" => Ok((activation(config, &["hidden_act"], "silu")?, true)),
        _ => Ok((activation(config, &["activation_function"], "")?, false)),
    }
}

/// Reads which layers have experts: of every so many the second.
fn experts(config: &Settings, layers: usize) -> Result<Option<Experts>, Error> {
    if config.number(&["num_experts"]).is_none_or(|n| n <= 0.0) {
        return Ok(None);
    }
    let count = config.size(&["num_experts"], 1 << 10)?;
    let every = config.size_or(&["moe_every_n_layers"], 2, most::LAYERS)?;
    let used = config.size_or(&["moe_top_k"], 1, count)?;
    let layers = (0..layers).map(|layer| layer % every == 1).collect();
    Ok(Some(Experts { layers, count, used }))
}

/// Names the tensors; Jina v3 shares some.
pub(super) fn stem(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layers.{layer}.{name}");
    match slot {
        Slot::TokenTable => "embeddings.word_embeddings".to_owned(),
        Slot::TypeTable => "embeddings.token_type_embeddings".to_owned(),
        Slot::EmbeddingNorm => "emb_ln".to_owned(),
        Slot::Query(l) | Slot::Key(l) | Slot::Value(l) => layer(l, "attn.Wqkv"),
        Slot::AttentionOutput(l) => layer(l, "attn.out_proj"),
        Slot::AttentionNorm(l) => layer(l, "norm1"),
        Slot::Up(l) if plan.gated => layer(l, "mlp.fc11"),
        Slot::Up(l) => layer(l, "mlp.fc1"),
        Slot::Gate(l) => layer(l, "mlp.fc12"),
        Slot::Down(l) => layer(l, "mlp.fc2"),
        Slot::Router(l) => layer(l, "mlp.router.layer"),
        Slot::ExpertsUp(l) => layer(l, "mlp.experts.mlp.w1"),
        Slot::ExpertsDown(l) => layer(l, "mlp.experts.mlp.w2"),
        Slot::ExpertsBias(l) => layer(l, "mlp.experts"),
        Slot::OutputNorm(l) => layer(l, "norm2"),
        other => absent(other),
    }
}
