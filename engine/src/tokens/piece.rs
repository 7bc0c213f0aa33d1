//! What is a token of a vocabulary? Files of sentencepiece and GGUF files number its kinds alike.

use tokenizers::{AddedToken, Tokenizer};

use crate::Error;

use super::error;

/// Tokens that are found in a text before anything else; the largest vocabularies have about six thousand.
const MOST_KNOWN: usize = 1 << 16;

/// A token, with how likely it is where that counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f64,
    pub(super) kind: Kind,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    /// A text that is this token wherever it stands.
    User,
    Unused,
    /// A single byte of what no other token spells.
    Byte,
}

impl Kind {
    /// Returns the kind that a number stands for.
    pub(super) fn of(number: u64) -> Option<Self> {
        use Kind::{Byte, Control, Normal, Unknown, Unused, User};
        [Normal, Unknown, Control, User, Unused, Byte].get(number.checked_sub(1)? as usize).copied()
    }
}

impl Piece {
    /// Returns a token that stands for no text.
    pub(super) fn control(text: &str) -> Self {
        Self { text: text.to_owned(), score: 0.0, kind: Kind::Control }
    }
}

/// Makes the tokenizer know the special tokens, and those that are found before anything else; a mask takes the blank
/// before it where `lstrip` names it.
pub(super) fn know(
    tokenizer: &mut Tokenizer,
    pieces: &[Piece],
    lstrip: Option<&str>,
) -> Result<(), Error> {
    let is_known =
        |piece: &&Piece| matches!(piece.kind, Kind::Control | Kind::Unknown | Kind::User);
    let known: Vec<AddedToken> = pieces
        .iter()
        .filter(is_known)
        .filter(|piece| !piece.text.is_empty())
        .map(|piece| {
            AddedToken::from(piece.text.as_str(), piece.kind != Kind::User)
                .normalized(false)
                .lstrip(lstrip == Some(&piece.text))
        })
        .collect();
    if known.len() > MOST_KNOWN {
        return Err(Error::Tokenizer(format!("{} tokens are special", known.len())));
    }
    tokenizer.add_tokens(known).map_err(error)?;
    Ok(())
}
