//! Static models (Model2Vec's potion, sentence-transformers' StaticEmbedding): a row for each token, and no layer.

use super::Architecture;
use crate::{
    Error, Plan,
    plan::{Biases, Positions, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["model2vec", "static"], plan, ..Architecture::NONE };

/// Nothing but memory limits the tokens of a text.
const CONTEXT: usize = 1 << 17;

/// Computes the plan from sizes that [`crate::repository`] took from the header of the table: configurations do not
/// name them.
fn plan(config: &Settings) -> Result<Plan, Error> {
    Ok(Plan {
        hidden: config.size(&["width"], most::WIDTH)?,
        kv_heads: 1,
        head_size: 1,
        biases: Biases::NONE,
        vocabulary: config.size(&["tokens"], most::VOCABULARY)?,
        positions: Positions::None { context: CONTEXT },
        token_types: 0,
        embedding_norm: false,
        ..Plan::new(config, 1)
    })
}
