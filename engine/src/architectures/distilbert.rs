//! DistilBERT: BERT without token types, under other names.

use super::{Architecture, Slot, activation};
use crate::{Error, Plan, plan::most, settings::Settings};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["distilbert"], plan, stem };

fn plan(config: &Settings) -> Result<Plan, Error> {
    Ok(Plan {
        architecture: "distilbert".to_owned(),
        hidden: config.size(&["dim", "hidden_size"], most::WIDTH)?,
        layers: config.size(&["n_layers", "num_hidden_layers"], most::LAYERS)?,
        heads: config.size(&["n_heads", "num_attention_heads"], most::WIDTH)?,
        inner: config.size(&["hidden_dim", "intermediate_size"], most::WIDTH)?,
        activation: activation(config, "activation")?,
        epsilon: 1e-12,
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: config.size_or(&["max_position_embeddings"], 512, most::POSITIONS)?,
        first_position: 0,
        token_types: 0,
    })
}

fn stem(slot: Slot) -> String {
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
    }
}
