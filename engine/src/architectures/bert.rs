//! BERT: MiniLM, bge, e5, gte v1, mxbai, arctic-embed, SimCSE and most sentence-transformers models.

use super::{Architecture, Slot, absent, activation, head_size, learned_positions};
use crate::{
    Error, Plan,
    plan::{Positions, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["bert"], plan, stem, ..Architecture::NONE };

fn plan(config: &Settings) -> Result<Plan, Error> {
    learned_positions(config)?;
    if config.flag(&["is_decoder"]) {
        return Err(Error::Unsupported(
            "a BERT that decodes cannot run in this version".to_owned(),
        ));
    }
    base(config)
}

/// Computes the plan but for its positions, in which those that share it differ.
pub(super) fn base(config: &Settings) -> Result<Plan, Error> {
    let hidden = config.size(&["hidden_size"], most::WIDTH)?;
    let heads = config.size(&["num_attention_heads"], most::WIDTH)?;
    let rows = config.size_or(&["max_position_embeddings"], 512, most::POSITIONS)?;
    let head_size = head_size(config, hidden, heads)?;
    Ok(Plan {
        hidden,
        layers: config.size(&["num_hidden_layers"], most::LAYERS)?,
        head_size,
        scale: (head_size as f32).sqrt().recip(),
        inner: config.size(&["intermediate_size"], most::WIDTH)?,
        activation: activation(config, &["hidden_act"], "gelu")?,
        epsilon: config.positive(&["layer_norm_eps"], 1e-12)?,
        vocabulary: config.size(&["vocab_size"], most::VOCABULARY)?,
        positions: Positions::Learned { rows, first: 0 },
        token_types: token_types(config, 2)?,
        ..Plan::new(config, heads)
    })
}

/// Returns the rows of the token type table, of which there may be none.
pub(super) fn token_types(config: &Settings, default: usize) -> Result<usize, Error> {
    match config.number(&["type_vocab_size"]) {
        Some(0.0) => Ok(0),
        _ => config.size_or(&["type_vocab_size"], default, most::POSITIONS),
    }
}

/// Names the tensors as transformers does.
pub(super) fn stem(slot: Slot, _: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layer.{layer}.{name}");
    match slot {
        Slot::TokenTable => "embeddings.word_embeddings".to_owned(),
        Slot::PositionTable => "embeddings.position_embeddings".to_owned(),
        Slot::TypeTable => "embeddings.token_type_embeddings".to_owned(),
        Slot::EmbeddingNorm => "embeddings.LayerNorm".to_owned(),
        Slot::Query(l) => layer(l, "attention.self.query"),
        Slot::Key(l) => layer(l, "attention.self.key"),
        Slot::Value(l) => layer(l, "attention.self.value"),
        Slot::AttentionOutput(l) => layer(l, "attention.output.dense"),
        Slot::AttentionNorm(l) => layer(l, "attention.output.LayerNorm"),
        Slot::Up(l) => layer(l, "intermediate.dense"),
        Slot::Down(l) => layer(l, "output.dense"),
        Slot::OutputNorm(l) => layer(l, "output.LayerNorm"),
        other => absent(other),
    }
}
