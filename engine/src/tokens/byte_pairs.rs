//! How GPT-2, RoBERTa, Qwen and Llama 3 cut a text: into words, and these into pairs of bytes that were often together.

use tokenizers::{
    Tokenizer,
    models::bpe::{BPE, Merges, Vocab},
    normalizers::unicode::NFC,
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

use super::error;
use crate::Error;

/// How Qwen 2 and 3 find words.
const QWEN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// How Llama 3 does: up to three digits are a word.
const LLAMA: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How a text becomes words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// As GPT-2 does.
    Gpt2,
    /// The same of composed characters.
    Composed,
    Qwen,
    Llama,
}

/// Builds a tokenizer of tokens and pairs, the most frequent first; `prefix` puts a blank before the text.
pub(super) fn build(
    vocabulary: Vocab,
    merges: Merges,
    words: Words,
    prefix: bool,
) -> Result<Tokenizer, Error> {
    // The model would believe this.
    let joins =
        |(left, right): &(String, String)| vocabulary.contains_key(&format!("{left}{right}"));
    if let Some((left, right)) = merges.iter().find(|pair| !joins(pair)) {
        return Err(Error::Tokenizer(format!("there is no token '{left}{right}' to merge to")));
    }
    let model = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(words == Words::Llama)
        .build()
        .map_err(error)?;
    let mut tokenizer = Tokenizer::new(model);
    if matches!(words, Words::Qwen | Words::Composed) {
        tokenizer.with_normalizer(Some(NFC)).map_err(error)?;
    }
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let bytes = ByteLevel::default().add_prefix_space(prefix);
    let pattern = match words {
        Words::Gpt2 | Words::Composed => {
            tokenizer.with_pre_tokenizer(Some(bytes.use_regex(true)));
            return Ok(tokenizer);
        }
        Words::Qwen => QWEN,
        Words::Llama => LLAMA,
    };
    let pattern = SplitPattern::Regex(pattern.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(error)?;
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(bytes.use_regex(false)),
    ])));
    Ok(tokenizer)
}
