//! GTE “new” (gte-en-v1.5, gte-multilingual, arctic-embed-m-v2): a BERT with turned heads and gated layers.

use super::{Architecture, Slot, absent, activation, bert, head_size, rotary};
use crate::{
    Error, Plan,
    plan::{Biases, Positions, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gte", "new"],
    own_code: &["NewModel", "GteModel"],
    plan,
    stem,
    ..Architecture::NONE
};

fn plan(config: &Settings) -> Result<Plan, Error> {
    for key in ["logn_attention_scale", "logn_attention_clip1"] {
        if config.flag(&[key]) {
            return Err(Error::Unsupported(format!("'{key}' cannot run in this version")));
        }
    }
    if config.text(&["position_embedding_type"]).unwrap_or("rope") != "rope"
        || config.text(&["layer_norm_type"]).unwrap_or("layer_norm") != "layer_norm"
    {
        return Err(Error::Unsupported(
            "positions or norms other than 'rope' and 'layer_norm' cannot run in this version"
                .to_owned(),
        ));
    }
    let hidden = config.size(&["hidden_size"], most::WIDTH)?;
    let heads = config.size(&["num_attention_heads"], most::WIDTH)?;
    let head_size = head_size(config, hidden, heads)?;
    Ok(Plan {
        hidden,
        layers: config.size(&["num_hidden_layers"], most::LAYERS)?,
        head_size,
        scale: (head_size as f32).sqrt().recip(),
        inner: config.size(&["intermediate_size"], most::WIDTH)?,
        activation: activation(config, &["hidden_act"], "gelu")?,
        gated: true,
        biases: Biases { up: false, ..Biases::ALL },
        epsilon: config.positive(&["layer_norm_eps"], 1e-12)?,
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: Positions::Rotary {
            frequencies: rotary(config, head_size, None, 160_000.0)?,
            near: None,
            context: config.size_or(&["max_position_embeddings"], 8192, most::POSITIONS)?,
        },
        token_types: bert::token_types(config, 0)?,
        ..Plan::new(config, heads)
    })
}

fn stem(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layer.{layer}.{name}");
    match slot {
        Slot::TokenTable | Slot::TypeTable | Slot::EmbeddingNorm => bert::stem(slot, plan),
        Slot::Query(l) | Slot::Key(l) | Slot::Value(l) => layer(l, "attention.qkv_proj"),
        Slot::AttentionOutput(l) => layer(l, "attention.o_proj"),
        Slot::AttentionNorm(l) => layer(l, "attn_ln"),
        Slot::Up(l) | Slot::Gate(l) => layer(l, "mlp.up_gate_proj"),
        Slot::Down(l) => layer(l, "mlp.down_proj"),
        Slot::OutputNorm(l) => layer(l, "mlp_ln"),
        other => absent(other),
    }
}
