//! DPR's encoders of questions and contexts: BERT under a prefix of its own.

use super::{Architecture, bert};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["dpr"],
    plan: bert::base,
    stem: bert::stem,
    ..Architecture::NONE
};
