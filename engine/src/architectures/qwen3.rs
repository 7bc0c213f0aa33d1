//! Qwen3, as an embedder: Llama with a norm of every query and key head.

use super::{Architecture, llama, qwen2, rotary};
use crate::{
    Error, Plan,
    plan::{Positions, ProjectionNorm, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["qwen3"], plan, stem: llama::stem, ..Architecture::NONE };

fn plan(config: &Settings) -> Result<Plan, Error> {
    if config.flag(&["use_bidirectional_attention"]) {
        let what = "bidirectional attention of a causal model";
        return Err(Error::Unsupported(format!("{what} cannot run in this version")));
    }
    let plan = llama::plan(config)?;
    // Not the width divided by the heads: transformers has this default too.
    let head_size = config.size_or(&["head_dim"], 128, most::WIDTH)?;
    let context = config.size_or(&["max_position_embeddings"], 32768, most::POSITIONS)?;
    let frequencies = rotary(config, head_size, None, 10_000.0)?;
    Ok(Plan {
        head_size,
        projection_norm: ProjectionNorm::Heads,
        scale: (head_size as f32).sqrt().recip(),
        window: qwen2::window(config, plan.layers)?,
        positions: Positions::Rotary { frequencies, near: None, context },
        ..plan
    })
}
