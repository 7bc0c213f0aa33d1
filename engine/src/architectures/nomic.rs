//! Nomic BERT v1 and v1.5: a BERT with turned heads and a gated feed-forward layer.

use super::{Architecture, Slot, absent, activation, head_size, rotary, turned};
use crate::{
    Error, Plan,
    plan::{Biases, Positions, most},
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
    Ok(Plan {
        hidden,
        layers: config.size(&["num_hidden_layers", "n_layer"], most::LAYERS)?,
        head_size,
        scale: (head_size as f32).sqrt().recip(),
        inner: config.size(&["intermediate_size", "n_inner"], most::WIDTH)?,
        activation: activation(config, &["hidden_act"], "silu")?,
        gated: true,
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
    if config.number(&["num_experts"]).is_some_and(|n| n > 0.0) {
        return refuse("a mixture of experts");
    }
    if config.number(&["rotary_emb_fraction"]).is_some_and(|part| part != 1.0) {
        return refuse("heads that are turned in part");
    }
    for key in ["prenorm", "parallel_block", "use_rms_norm", "rotary_emb_interleaved", "causal"] {
        if config.flag(&[key]) {
            return refuse(&format!("'{key}'"));
        }
    }
    match config.text(&["activation_function"]).unwrap_or("swiglu") {
        "swiglu" => Ok(()),
        other => refuse(&format!("activation '{other}'")),
    }
}

/// Names the tensors; Jina v3 shares some.
pub(super) fn stem(slot: Slot, _: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layers.{layer}.{name}");
    match slot {
        Slot::TokenTable => "embeddings.word_embeddings".to_owned(),
        Slot::TypeTable => "embeddings.token_type_embeddings".to_owned(),
        Slot::EmbeddingNorm => "emb_ln".to_owned(),
        Slot::Query(l) | Slot::Key(l) | Slot::Value(l) => layer(l, "attn.Wqkv"),
        Slot::AttentionOutput(l) => layer(l, "attn.out_proj"),
        Slot::AttentionNorm(l) => layer(l, "norm1"),
        Slot::Up(l) => layer(l, "mlp.fc11"),
        Slot::Gate(l) => layer(l, "mlp.fc12"),
        Slot::Down(l) => layer(l, "mlp.fc2"),
        Slot::OutputNorm(l) => layer(l, "norm2"),
        other => absent(other),
    }
}
