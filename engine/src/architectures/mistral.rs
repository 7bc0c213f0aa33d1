//! Mistral, as an embedder (e5-mistral, SFR, Linq): Llama with a window in every layer.

use super::{Architecture, llama};
use crate::{Error, Plan, settings::Settings};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["mistral"], plan, stem: llama::stem, ..Architecture::NONE };

fn plan(config: &Settings) -> Result<Plan, Error> {
    let plan = llama::plan(config)?;
    Ok(Plan { window: llama::window(config, plan.layers, |_| true)?, ..plan })
}
