//! How Llama and Gemma cut a text: pairs of pieces are joined by score, and what no piece spells is bytes.

use std::collections::HashMap;

use tokenizers::{
    DecoderWrapper, NormalizerWrapper, Tokenizer,
    decoders::{self, byte_fallback::ByteFallback, fuse::Fuse, strip::Strip},
    models::bpe::{BPE, Merges, Vocab},
    normalizers::{Prepend, Replace, Sequence},
};

use super::{
    error,
    piece::{Kind, Piece},
};
use crate::Error;

/// Characters of a token that is made of two others; the longest ones of real vocabularies have sixty-four.
const MOST_CHARACTERS: usize = 128;
/// Merges, for each piece; real vocabularies have about two.
const MOST_MERGES_PER_PIECE: usize = 16;

/// Builds a tokenizer of these pieces; `prefix` puts a blank before the text.
pub(super) fn build(
    pieces: &[Piece],
    unknown: Option<usize>,
    prefix: bool,
) -> Result<Tokenizer, Error> {
    let vocabulary: Vocab =
        pieces.iter().zip(0..).map(|(piece, id)| (piece.text.clone(), id)).collect();
    let mut model = BPE::builder()
        .vocab_and_merges(vocabulary, merges(pieces))
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(piece) = unknown.and_then(|id| pieces.get(id)) {
        model = model.unk_token(piece.text.clone());
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(error)?);
    let mut steps = Vec::new();
    if prefix {
        steps.push(NormalizerWrapper::Prepend(Prepend::new("▁".to_owned())));
    }
    steps.push(NormalizerWrapper::Replace(Replace::new(" ", "▁").map_err(error)?));
    let blank = DecoderWrapper::Replace(Replace::new("▁", " ").map_err(error)?);
    let mut back = vec![blank, DecoderWrapper::ByteFallback(ByteFallback::new())];
    back.push(DecoderWrapper::Fuse(Fuse::new()));
    if prefix {
        back.push(DecoderWrapper::Strip(Strip::new(' ', 1, 0)));
    }
    tokenizer.with_decoder(Some(decoders::sequence::Sequence::new(back)));
    tokenizer.with_normalizer(Some(Sequence::new(steps))).map_err(error)?;
    Ok(tokenizer)
}

/// Returns which pieces may be joined, the best first: in the order in which transformers finds them out from scores.
fn merges(pieces: &[Piece]) -> Merges {
    let ids: HashMap<&str, usize> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.text.as_str(), id)).collect();
    let mut found = Vec::new();
    let fits = |piece: &&Piece| piece.text.chars().nth(MOST_CHARACTERS).is_none();
    for piece in pieces.iter().filter(fits) {
        if found.len() > MOST_MERGES_PER_PIECE * pieces.len() {
            // No vocabulary that was trained; what follows would only fill the memory.
            break;
        }
        let splits = piece.text.char_indices().skip(1).filter_map(|(at, _)| {
            let (left, right) = piece.text.split_at(at);
            Some((*ids.get(left)?, *ids.get(right)?))
        });
        let mut splits: Vec<(usize, usize)> = splits.collect();
        splits.sort_unstable();
        let length = |id: usize| pieces[id].text.chars().count();
        let score = if piece.kind == Kind::User { 0.0 } else { piece.score };
        found.extend(splits.into_iter().map(|(l, r)| (score, length(l), length(r), l, r)));
    }
    // What scores alike keeps its order.
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1, b.2).cmp(&(a.1, a.2))));
    let text = |id: usize| pieces[id].text.clone();
    found.into_iter().map(|(_, _, _, left, right)| (text(left), text(right))).collect()
}
