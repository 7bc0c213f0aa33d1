//! How BERT cuts a text: into words, and these into the longest pieces that are in the vocabulary.

use tokenizers::{
    Tokenizer, decoders,
    models::{bpe::Vocab, wordpiece::WordPiece},
    normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
};

use super::error;
use crate::Error;

/// Builds a tokenizer; tokens that go on within a word begin with `##`.
pub(super) fn build(
    vocabulary: impl Iterator<Item = (String, u32)>,
    unknown: &str,
    cased: bool,
) -> Result<Tokenizer, Error> {
    let model = WordPiece::builder()
        .vocab(vocabulary.collect::<Vocab>())
        .unk_token(unknown.to_owned())
        .build()
        .map_err(error)?;
    let mut tokenizer = Tokenizer::new(model);
    // As transformers builds it: accents go with the case.
    let normalizer = BertNormalizer::new(true, true, None, !cased);
    tokenizer.with_normalizer(Some(normalizer)).map_err(error)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(decoders::wordpiece::WordPiece::new("##".to_owned(), true)));
    Ok(tokenizer)
}
