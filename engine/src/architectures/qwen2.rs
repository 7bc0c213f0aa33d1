//! Qwen2, as an embedder (gte-Qwen2): Llama with biases of queries, keys and values.

use super::{Architecture, llama};
use crate::{
    Error, Plan,
    plan::{Biases, Window},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["qwen2"],
    own_code: &["Qwen2Model"],
    plan,
    stem: llama::stem,
    ..Architecture::NONE
};

fn plan(config: &Settings) -> Result<Plan, Error> {
    let plan = llama::plan(config)?;
    let biases = Biases { projection: true, ..Biases::NONE };
    // The code that gte-Qwen2 brings looks both ways unless it is told otherwise.
    let causal = match config.get(&["is_causal"]) {
        None => config.get(&["auto_map"]).is_none(),
        Some(_) => plan.causal,
    };
    Ok(Plan { window: window(config, plan.layers)?, biases, causal, ..plan })
}

/// Returns the window of the layers behind the first few, where it is switched on.
pub(super) fn window(config: &Settings, layers: usize) -> Result<Option<Window>, Error> {
    let first = config.number(&["max_window_layers"]).unwrap_or(28.0);
    let slides = config.flag(&["use_sliding_window"]);
    llama::window(config, layers, |layer| slides && layer as f64 >= first)
}
