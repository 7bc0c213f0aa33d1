//! What does a model file of sentencepiece say? The few fields of its protocol buffer that tokenizers are built from:
//! <https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>.

use super::piece::{Kind, Piece};
use crate::plan::most;

/// A vocabulary with the way in which it is used.
#[derive(Debug, PartialEq)]
pub(super) struct Model {
    pub(super) pieces: Vec<Piece>,
    pub(super) algorithm: Algorithm,
    /// The piece for what is unknown.
    pub(super) unknown: usize,
    pub(super) charsmap: Vec<u8>,
    /// Whether a blank is put before the text.
    pub(super) prefix: bool,
    /// Whether blanks at the ends, and all but one of several, go.
    pub(super) single_spaces: bool,
}

/// How pieces are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    /// Pairs are joined.
    Pairs,
}

/// Reads a model; the error says what is wrong.
pub(super) fn read(bytes: &[u8]) -> Result<Model, String> {
    let mut model = Model {
        pieces: Vec::new(),
        algorithm: Algorithm::Unigram,
        unknown: 0,
        charsmap: Vec::new(),
        prefix: true,
        single_spaces: true,
    };
    let damaged = "is no model of sentencepiece";
    for field in Fields(bytes) {
        match field.ok_or(damaged)? {
            (1, Value::Bytes(piece)) if model.pieces.len() < most::VOCABULARY => {
                model.pieces.push(read_piece(piece).ok_or(damaged)?);
            }
            (1, _) => return Err("has too many pieces".to_owned()),
            (2, Value::Bytes(trainer)) => read_trainer(trainer, &mut model)?,
            (3, Value::Bytes(normalizer)) => {
                read_normalizer(normalizer, &mut model).ok_or(damaged)?;
            }
            _ => {}
        }
    }
    if model.unknown >= model.pieces.len() {
        return Err("has no piece for what is unknown".to_owned());
    }
    Ok(model)
}

fn read_piece(bytes: &[u8]) -> Option<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: Kind::Normal };
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(text)) => piece.text = std::str::from_utf8(text).ok()?.to_owned(),
            (2, Value::Fixed(bits)) => piece.score = f64::from(f32::from_bits(bits)),
            (3, Value::Number(kind)) => piece.kind = Kind::of(kind)?,
            _ => {}
        }
    }
    Some(piece)
}

fn read_trainer(bytes: &[u8], model: &mut Model) -> Result<(), String> {
    for field in Fields(bytes) {
        match field.ok_or("has damaged settings")? {
            (3, Value::Number(1)) => model.algorithm = Algorithm::Unigram,
            (3, Value::Number(2)) => model.algorithm = Algorithm::Pairs,
            (3, _) => return Err("holds whole words or characters".to_owned()),
            (40, Value::Number(id)) => {
                model.unknown = usize::try_from(id).unwrap_or(usize::MAX);
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_normalizer(bytes: &[u8], model: &mut Model) -> Option<()> {
    for field in Fields(bytes) {
        match field? {
            (2, Value::Bytes(charsmap)) => model.charsmap = charsmap.to_vec(),
            (3, Value::Number(prefix)) => model.prefix = prefix != 0,
            (4, Value::Number(single)) => model.single_spaces = single != 0,
            _ => {}
        }
    }
    Some(())
}

/// The value of a field.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Number(u64),
    /// Four bytes.
    Fixed(u32),
    /// A text or a message.
    Bytes(&'a [u8]),
    /// Eight bytes, which no field here has.
    Other,
}

/// The fields of a message with their numbers; the last is none where the message is damaged.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                self.take(8)?;
                Value::Other
            }
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    /// Reads seven bits of each byte, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_damaged() {
        let piece = b"\x0a\x0b\x0a\x02ab\x15\0\0\x80\xbf\x18\x02";
        let model = read(piece).unwrap();
        let wanted = Piece { text: "ab".to_owned(), score: -1.0, kind: Kind::Unknown };
        assert_eq!((model.pieces, model.unknown, model.prefix), (vec![wanted], 0, true));
        for damaged in [
            &b""[..],
            b"\x0a\x05\x0a",
            b"\x0a\x03\x0a\x01\xff",
            b"\x0a\x02\x18\x09",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x12\x02\x18\x03",
            b"not a model",
        ] {
            assert!(read(damaged).is_err(), "{damaged:?}");
        }
        for length in 1..piece.len() {
            assert!(read(&piece[..length]).is_err());
        }
    }
}
