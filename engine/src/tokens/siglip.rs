//! What do SigLIP's tokenizers do to a text whatever their `tokenizer.json` says?
//!
//! Their classes lower it, and the first also drops what is punctuation in ASCII and blanks that follow others: a file
//! that says so too does nothing more to such a text.

use tokenizers::{
    NormalizerWrapper, Tokenizer,
    normalizers::{self, replace, strip::Strip},
};

use crate::{Plan, repository::Repository};

const PUNCTUATION: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"##;

/// Makes a tokenizer do what the class of this name does.
pub(super) fn obey(class: &str, lowers: bool, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    let first = class.contains("SiglipTokenizer");
    if !first && !class.contains("Siglip2Tokenizer") {
        return Ok(());
    }
    let mut steps = Vec::new();
    if lowers || !first {
        steps.push(NormalizerWrapper::Lowercase(normalizers::utils::Lowercase));
    }
    if first {
        let replaced = |pattern: &str, by: &str| {
            let pattern = replace::ReplacePattern::Regex(pattern.to_owned());
            replace::Replace::new(pattern, by).map(NormalizerWrapper::from)
        };
        steps.extend([replaced(PUNCTUATION, "")?, replaced(r"\s+", " ")?]);
        steps.push(Strip::new(true, true).into());
    }
    steps.extend(tokenizer.get_normalizer().cloned());
    tokenizer.with_normalizer(Some(normalizers::Sequence::new(steps)))?;
    Ok(())
}

/// Returns what texts are filled up with, to which length, and whether that stands before them.
pub(super) fn padding(
    repository: &Repository<'_>,
    plan: &Plan,
    tokenizer: &Tokenizer,
) -> Option<(u32, usize, bool)> {
    let otherwise = repository.towers.as_ref()?.padding?;
    let named = repository.pad_token.as_ref().and_then(|name| tokenizer.token_to_id(name));
    let most = plan.context_length();
    let length = repository.max_tokens.map_or(most, |n| n.min(most));
    Some((named.unwrap_or(otherwise), length, repository.pads_left))
}
