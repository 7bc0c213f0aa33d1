//! Which tokenizer does the metadata of a GGUF file describe?
//!
//! Rules that are not written in the file are those of llama.cpp, where they do not contradict transformers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokenizers::Tokenizer;

use super::{
    around::{self, Around},
    byte_fallback,
    byte_pairs::{self, Words},
    piece::{self, Kind, Piece},
    unigram::{self, Spaces},
    word_piece,
};
use crate::{Error, gguf::Gguf};

/// What marks the beginning of a word.
const MARK: char = '▁';

/// Builds the tokenizer of a file.
pub(super) fn build(gguf: &Gguf) -> Result<Tokenizer, Error> {
    let metadata = Metadata { gguf };
    let pieces = metadata.pieces()?;
    match gguf.text("tokenizer.ggml.model").unwrap_or_default() {
        "bert" => metadata.word_piece(pieces),
        "t5" => metadata.unigram(&pieces),
        "llama" => metadata.byte_fallback(pieces),
        "gpt2" => metadata.byte_pairs(&pieces),
        other => Err(unsupported(&format!("tokenizer '{other}'"))),
    }
    .map_err(|e| match e {
        Error::Tokenizer(problem) => gguf.error(problem),
        other => other,
    })
}

struct Metadata<'a> {
    gguf: &'a Gguf,
}

impl Metadata<'_> {
    fn word_piece(&self, mut pieces: Vec<Piece>) -> Result<Tokenizer, Error> {
        let is_special = |piece: &Piece| piece.kind == Kind::Control || piece.kind == Kind::Unknown;
        // No converter writes whether capitals were kept, but then the vocabulary has some.
        let has_capital = |piece: &Piece| piece.text.contains(|c: char| c.is_ascii_uppercase());
        let is_bracketed = |text: &str| text.starts_with('[') && text.ends_with(']');
        for piece in pieces.iter_mut().filter(|piece| !is_special(piece)) {
            match piece.text.strip_prefix(MARK) {
                Some(rest) => piece.text = rest.to_owned(),
                None if is_bracketed(&piece.text) => {}
                None => piece.text.insert_str(0, "##"),
            }
        }
        let words = pieces.iter().filter(|piece| !is_special(piece) && !is_bracketed(&piece.text));
        let cased = words.into_iter().any(has_capital);
        let unknown = self.token(&pieces, "unknown_token_id", "[UNK]");
        let vocabulary = pieces.iter().map(|piece| piece.text.clone()).zip(0..);
        let mut tokenizer = word_piece::build(vocabulary, &unknown, cased)?;
        let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
        for piece in pieces.iter_mut().filter(|piece| specials.contains(&piece.text.as_str())) {
            piece.kind = Kind::Control;
        }
        piece::know(&mut tokenizer, &pieces, None)?;
        let id = |keys: &[&str], name: &str| self.id(keys).or_else(|| tokenizer.token_to_id(name));
        let before = id(&["cls_token_id", "bos_token_id"], "[CLS]");
        let after = id(&["separator_token_id", "seperator_token_id", "eos_token_id"], "[SEP]");
        around::put(&mut tokenizer, Around { before, after, between: 1, second: 1 })?;
        Ok(tokenizer)
    }

    fn unigram(&self, pieces: &[Piece]) -> Result<Tokenizer, Error> {
        let unknown = pieces.iter().position(|piece| piece.kind == Kind::Unknown);
        let unknown = self.id(&["unknown_token_id"]).map(|id| id as usize).or(unknown);
        let spaces = Spaces {
            prefix: self.flag("add_space_prefix").unwrap_or(true),
            single: self.flag("remove_extra_whitespaces").unwrap_or(true),
        };
        let charsmap = self.charsmap()?;
        let mut tokenizer =
            unigram::build(pieces, unknown.unwrap_or(2), charsmap.as_deref(), &spaces)?;
        let mask = self.token(pieces, "mask_token_id", "<mask>");
        piece::know(&mut tokenizer, pieces, Some(&mask))?;
        let ends = self.ends([false, true], [None, Some(1)]);
        around::put(&mut tokenizer, Around { between: 2, ..ends })?;
        Ok(tokenizer)
    }

    fn byte_fallback(&self, mut pieces: Vec<Piece>) -> Result<Tokenizer, Error> {
        // Converters write a token of blanks as it stands in a text.
        for piece in pieces.iter_mut().filter(|piece| piece.text.contains(' ')) {
            piece.text = piece.text.replace(' ', "▁");
        }
        let unknown = self.id(&["unknown_token_id"]).unwrap_or(0);
        let prefix = self.flag("add_space_prefix").unwrap_or(true);
        let mut tokenizer = byte_fallback::build(&pieces, Some(unknown as usize), prefix)?;
        piece::know(&mut tokenizer, &pieces, None)?;
        let ends = self.ends([true, false], [Some(1), Some(2)]);
        around::put(&mut tokenizer, Around { between: 1, ..ends })?;
        Ok(tokenizer)
    }

    fn byte_pairs(&self, pieces: &[Piece]) -> Result<Tokenizer, Error> {
        let encoder = matches!(self.gguf.architecture(), "bert" | "jina-bert-v2" | "modern-bert");
        let (words, adds_both) = match self.gguf.text("tokenizer.ggml.pre").unwrap_or("default") {
            "qwen2" | "deepseek-r1-qwen" => (Words::Qwen, false),
            "llama-bpe" | "llama3" | "llama-v3" => (Words::Llama, false),
            "modern-bert" => (Words::Composed, true),
            "roberta-bpe" | "jina-v1-en" | "jina-v2-code" | "jina-v2-de" | "jina-v2-es"
            | "jina-es" | "jina-de" => (Words::Gpt2, true),
            "default" | "gpt-2" => (Words::Gpt2, encoder),
            other => return Err(unsupported(&format!("the words of tokenizer '{other}'"))),
        };
        let merges = self.gguf.texts("tokenizer.ggml.merges").unwrap_or_default();
        let pair = |merge: &String| {
            let (left, right) = merge.split_once(' ')?;
            Some((left.to_owned(), right.to_owned()))
        };
        let merges = merges.iter().map(pair).collect::<Option<Vec<_>>>();
        let merges = merges.ok_or_else(|| self.gguf.error("a merge is no pair of tokens"))?;
        let vocabulary = pieces.iter().map(|piece| piece.text.clone()).zip(0..).collect();
        let prefix = self.flag("add_space_prefix").unwrap_or(false);
        let mut tokenizer = byte_pairs::build(vocabulary, merges, words, prefix)?;
        let mask = self.token(pieces, "mask_token_id", "<mask>");
        piece::know(&mut tokenizer, pieces, Some(&mask))?;
        let adds = [adds_both || words == Words::Llama, adds_both];
        around::put(&mut tokenizer, Around { between: 1, ..self.ends(adds, [None, None]) })?;
        Ok(tokenizer)
    }

    /// Returns the tokens around a text, where the file says whether there are any or by these defaults.
    fn ends(&self, adds: [bool; 2], ids: [Option<u32>; 2]) -> Around {
        let before = self.flag("add_bos_token").unwrap_or(adds[0]);
        let after = self.flag("add_eos_token").unwrap_or(adds[1]);
        let id = |keys: &[&str], default: Option<u32>| self.id(keys).or(default);
        Around {
            before: before.then(|| id(&["bos_token_id", "cls_token_id"], ids[0])).flatten(),
            after: after.then(|| id(&["eos_token_id", "seperator_token_id"], ids[1])).flatten(),
            ..Around::default()
        }
    }

    /// Returns the tokens; without a kind or a score they are normal, and all as likely.
    fn pieces(&self) -> Result<Vec<Piece>, Error> {
        let texts = self.gguf.texts("tokenizer.ggml.tokens");
        let texts = texts.ok_or_else(|| self.gguf.error("has no list of tokens"))?;
        let scores = self.gguf.numbers("tokenizer.ggml.scores").unwrap_or_default();
        let kinds = self.gguf.numbers("tokenizer.ggml.token_type").unwrap_or_default();
        let kind = |id: usize| kinds.get(id).and_then(|kind| Kind::of(*kind as u64));
        let piece = |(id, text)| Piece {
            text,
            score: scores.get(id).copied().unwrap_or_default(),
            kind: kind(id).unwrap_or(Kind::Normal),
        };
        Ok(texts.into_iter().enumerate().map(piece).collect())
    }

    /// Returns the table of characters: bytes, or as Ollama has written it the letters of its base64 form one by one.
    fn charsmap(&self) -> Result<Option<Vec<u8>>, Error> {
        let key = "tokenizer.ggml.precompiled_charsmap";
        if let Some(bytes) = self.gguf.bytes(key) {
            return Ok(Some(bytes.to_vec()));
        }
        let Some(texts) = self.gguf.texts(key) else { return Ok(None) };
        let each = || texts.iter().map(|text| STANDARD.decode(text)).collect::<Result<Vec<_>, _>>();
        let decoded =
            STANDARD.decode(texts.concat()).or_else(|_| each().map(|parts| parts.concat()));
        decoded.map(Some).map_err(|e| self.gguf.error(format!("the table of characters: {e}")))
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.gguf.value(&format!("tokenizer.ggml.{key}")).as_bool()
    }

    /// Returns the first id that is there.
    fn id(&self, keys: &[&str]) -> Option<u32> {
        let id = |key: &&str| self.gguf.value(&format!("tokenizer.ggml.{key}")).as_u64();
        keys.iter().find_map(id).and_then(|id| u32::try_from(id).ok())
    }

    /// Returns the text of a token that a key names.
    fn token(&self, pieces: &[Piece], key: &str, default: &str) -> String {
        let piece = self.id(&[key]).and_then(|id| pieces.get(id as usize));
        piece.map_or_else(|| default.to_owned(), |piece| piece.text.clone())
    }
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!("{what} cannot run in this version"))
}
