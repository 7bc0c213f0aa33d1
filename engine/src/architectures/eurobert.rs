//! EuroBERT: a Llama that looks both ways.

use super::{Architecture, llama};
use crate::{Error, Plan, settings::Settings};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["eurobert"],
    own_code: &["EuroBertModel"],
    plan,
    stem: llama::stem,
    ..Architecture::NONE
};

fn plan(config: &Settings) -> Result<Plan, Error> {
    let epsilon = config.positive(&["rms_norm_eps"], 1e-5)?;
    Ok(Plan { causal: false, epsilon, ..llama::plan(config)? })
}
