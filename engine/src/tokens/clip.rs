//! How is CLIP's tokenizer built where a repository has its vocabulary and merges, but no `tokenizer.json`?

use std::path::Path;

use tokenizers::{
    AddedToken, Tokenizer,
    models::bpe::BPE,
    normalizers::{self, NormalizerWrapper, replace},
    pre_tokenizers::{
        PreTokenizerWrapper, byte_level::ByteLevel, sequence::Sequence, split::Split,
        split::SplitPattern,
    },
    processors::roberta::RobertaProcessing,
    tokenizer::normalizer::SplitDelimiterBehavior,
};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// What is one word before it is cut into pieces.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Builds it as transformers does: byte-level pieces of lower-cased words, the last of a word marked.
pub(super) fn build(vocabulary: &Path, merges: &Path) -> tokenizers::Result<Tokenizer> {
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("the path is not UTF-8");
    let (vocabulary, merges) = (text(vocabulary)?, text(merges)?);
    let model = BPE::from_file(&vocabulary, &merges)
        .end_of_word_suffix("</w>".to_owned())
        .unk_token(END.to_owned())
        .build()?;
    let mut tokenizer = Tokenizer::new(model);
    let id = |token: &str| {
        let id = tokenizer.token_to_id(token).ok_or(format!("no {token}"))?;
        Ok::<_, String>((token.to_owned(), id))
    };
    let processor = RobertaProcessing::new(id(END)?, id(START)?);
    let blanks = replace::Replace::new(replace::ReplacePattern::Regex(r"\s+".to_owned()), " ")?;
    tokenizer.with_normalizer(Some(normalizers::Sequence::new(vec![
        NormalizerWrapper::NFC(normalizers::unicode::NFC),
        blanks.into(),
        NormalizerWrapper::Lowercase(normalizers::utils::Lowercase),
    ])))?;
    let pattern = SplitPattern::Regex(WORDS.to_owned());
    let words = Split::new(pattern, SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(Sequence::new(vec![
        words.into(),
        bytes.into(),
    ]))));
    let specials = [START, END].map(|token| AddedToken::from(token, true).normalized(true));
    tokenizer.add_special_tokens(specials)?;
    tokenizer.with_post_processor(Some(processor.trim_offsets(false).add_prefix_space(false)));
    Ok(tokenizer)
}
