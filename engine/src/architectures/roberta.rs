//! RoBERTa, XLM-RoBERTa and CamemBERT: BERT whose positions start behind the padding id.

use super::{Architecture, bert, learned_positions};
use crate::{
    Error, Plan,
    plan::{Positions, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["roberta", "xlm-roberta", "camembert"],
    plan,
    stem: bert::stem,
    ..Architecture::NONE
};

/// Computes the plan; MPNet shares its positions.
pub(super) fn plan(config: &Settings) -> Result<Plan, Error> {
    learned_positions(config)?;
    let padding = config.number(&["pad_token_id"]).unwrap_or(1.0);
    if !(0.0..most::POSITIONS as f64).contains(&padding) {
        return Err(config.error("'pad_token_id' is out of range"));
    }
    // transformers numbers real tokens from padding_idx + 1 (create_position_ids_from_input_ids).
    let first = padding as usize + 1;
    let plan = bert::base(config)?;
    Ok(Plan { positions: Positions::Learned { rows: plan.positions.rows(), first }, ..plan })
}
