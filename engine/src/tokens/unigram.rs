//! How XLM-R and T5 cut a text: into the pieces that are the most likely together (Kudo, 2018).

use tokenizers::{
    Tokenizer,
    models::unigram::Unigram,
    pre_tokenizers::{
        PreTokenizerWrapper,
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence,
        whitespace::WhitespaceSplit,
    },
};

use super::{
    charsmap, error,
    piece::{Kind, Piece},
};
use crate::Error;

/// How texts are prepared.
pub(super) struct Spaces {
    /// Whether a blank is put before the first word.
    pub(super) prefix: bool,
    /// Whether blanks at the ends, and all but one of several, go.
    pub(super) single: bool,
}

/// Builds a tokenizer of these pieces, one of which stands for what is unknown.
pub(super) fn build(
    pieces: &[Piece],
    unknown: usize,
    charsmap: Option<&[u8]>,
    spaces: &Spaces,
) -> Result<Tokenizer, Error> {
    if let Some(piece) = pieces.iter().find(|piece| !piece.score.is_finite()) {
        return Err(Error::Tokenizer(format!("'{}' has no score", piece.text)));
    }
    let scored = pieces.iter().map(|piece| (piece.text.clone(), piece.score)).collect();
    let has_bytes = pieces.iter().any(|piece| piece.kind == Kind::Byte);
    let model = Unigram::from(scored, Some(unknown), has_bytes).map_err(error)?;
    let mut tokenizer = Tokenizer::new(model);
    if let Some(bytes) = charsmap.filter(|bytes| !bytes.is_empty()) {
        let normalizer = charsmap::read(bytes).map_err(Error::Tokenizer)?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(error)?;
    }
    let scheme = if spaces.prefix { PrependScheme::Always } else { PrependScheme::Never };
    let marks = Metaspace::new('▁', scheme, true);
    tokenizer.with_decoder(Some(marks.clone()));
    let marks = PreTokenizerWrapper::Metaspace(marks);
    let split = spaces.single.then_some(PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit));
    let steps = split.into_iter().chain([marks]).collect();
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    Ok(tokenizer)
}
