//! DistilBERT: BERT without token types, under other names.

use super::{Architecture, Slot, absent, activation, head_size};
use crate::{
    Error, Plan,
    plan::{Positions, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["distilbert"], plan, stem, ..Architecture::NONE };

fn plan(config: &Settings) -> Result<Plan, Error> {
    let hidden = config.size(&["dim", "hidden_size"], most::WIDTH)?;
    let heads = config.size(&["n_heads", "num_attention_heads"], most::WIDTH)?;
    let rows = config.size_or(&["max_position_embeddings"], 512, most::POSITIONS)?;
    let head_size = head_size(config, hidden, heads)?;
    Ok(Plan {
        hidden,
        layers: config.size(&["n_layers", "num_hidden_layers"], most::LAYERS)?,
        head_size,
        scale: (head_size as f32).sqrt().recip(),
        inner: config.size(&["hidden_dim", "intermediate_size"], most::WIDTH)?,
        activation: activation(config, &["activation"], "gelu")?,
        epsilon: 1e-12,
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: Positions::Learned { rows, first: 0 },
        token_types: 0,
        ..Plan::new(config, heads)
    })
}

fn stem(slot: Slot, _: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("transformer.layer.{layer}.{name}");
    match slot {
        Slot::TokenTable => "embeddings.word_embeddings".to_owned(),
        Slot::PositionTable => "embeddings.position_embeddings".to_owned(),
        Slot::TypeTable => "embeddings.token_type_embeddings".to_owned(),
        Slot::EmbeddingNorm => "embeddings.LayerNorm".to_owned(),
        Slot::Query(l) => layer(l, "attention.q_lin"),
        Slot::Key(l) => layer(l, "attention.k_lin"),
        Slot::Value(l) => layer(l, "attention.v_lin"),
        Slot::AttentionOutput(l) => layer(l, "attention.out_lin"),
        Slot::AttentionNorm(l) => layer(l, "sa_layer_norm"),
        Slot::Up(l) => layer(l, "ffn.lin1"),
        Slot::Down(l) => layer(l, "ffn.lin2"),
        Slot::OutputNorm(l) => layer(l, "output_layer_norm"),
        other => absent(other),
    }
}
