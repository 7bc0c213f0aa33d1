//! How is what a model gave of texts written into an answer?

use std::fmt::{Display, Write as _};

use engine::{Outputs, Vectors};

use super::floats;
use crate::Error;

/// Bytes of an answer: whoever wants more asks for it in parts.
const MOST_ANSWER_BYTES: usize = 1 << 30;

/// How the numbers of a vector are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As decimals.
    #[default]
    Float,
    /// The bytes of little-endian f32, as base64.
    Base64,
    /// 256 steps from the least to the greatest, from -128.
    Int8,
    /// The same from 0.
    Uint8,
    /// A bit for each number, set if it is positive; eight of them less 128.
    Binary,
    /// The same as it is.
    Ubinary,
}

impl Encoding {
    /// Returns the encoding of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "" | "float" | "float32" => Self::Float,
            "base64" => Self::Base64,
            "int8" => Self::Int8,
            "uint8" => Self::Uint8,
            "binary" => Self::Binary,
            "ubinary" => Self::Ubinary,
            _ => return None,
        })
    }

    /// Appends a vector.
    pub(crate) fn write(self, out: &mut String, vector: &[f32]) {
        match self {
            Self::Float => floats::array(out, vector),
            Self::Base64 => floats::base64(out, vector),
            Self::Int8 => integers(out, steps(vector).map(|step| i16::from(step) - 128)),
            Self::Uint8 => integers(out, steps(vector)),
            Self::Binary => integers(out, bits(vector).map(|byte| i16::from(byte) - 128)),
            Self::Ubinary => integers(out, bits(vector)),
        }
    }
}

/// Returns on which of 255 steps from -m to m each number stands, m being the greatest of their magnitudes. With the
/// same range for all values their directions stay comparable, and no vector depends on others; it is what
/// `quantize_embeddings` of sentence-transformers gives for these ranges.
fn steps(vector: &[f32]) -> impl Iterator<Item = u8> {
    let most = vector.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    // Of zeros only, every range is as good.
    let most = if most > 0.0 { most } else { 1.0 };
    let step = 2.0 * most / 255.0;
    vector.iter().map(move |x| ((x + most) / step) as u8)
}

/// Packs the signs of numbers, the first into the highest bit.
fn bits(vector: &[f32]) -> impl Iterator<Item = u8> {
    vector.chunks(8).map(|chunk| {
        let bit = |(place, x): (usize, &f32)| u8::from(*x > 0.0) << (7 - place);
        chunk.iter().enumerate().map(bit).sum()
    })
}

fn integers(out: &mut String, numbers: impl Iterator<Item = impl Display>) {
    list(out, numbers, |out, number| put(out, format_args!("{number}")));
}

fn list<T>(out: &mut String, items: impl Iterator<Item = T>, write: impl Fn(&mut String, T)) {
    out.push('[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a string takes everything");
}

/// The lists of an answer while they grow.
pub(crate) struct Lists {
    encoding: Encoding,
    dense: String,
    sparse: String,
    multivector: String,
}

impl Lists {
    /// Begins empty lists.
    pub(crate) fn new(encoding: Encoding) -> Self {
        let [dense, sparse, multivector] = [const { String::new() }; 3];
        Self { encoding, dense, sparse, multivector }
    }

    /// Appends what a text gave.
    pub(crate) fn add(&mut self, outputs: Outputs, vectors: &Vectors) -> Result<(), Error> {
        let encoding = self.encoding;
        let begun = |list: &mut String| {
            if !list.is_empty() {
                list.push(',');
            }
        };
        if outputs.dense {
            begun(&mut self.dense);
            encoding.write(&mut self.dense, &vectors.dense);
        }
        if outputs.sparse {
            begun(&mut self.sparse);
            let (ids, weights): (Vec<u32>, Vec<f32>) = vectors.sparse.iter().copied().unzip();
            self.sparse.push_str(r#"{"indices":"#);
            integers(&mut self.sparse, ids.into_iter());
            self.sparse.push_str(r#","values":"#);
            floats::array(&mut self.sparse, &weights);
            self.sparse.push('}');
        }
        if outputs.multivector {
            begun(&mut self.multivector);
            let rows = vectors.multivector.iter();
            list(&mut self.multivector, rows, |out, row| encoding.write(out, row));
        }
        let bytes = self.dense.len() + self.sparse.len() + self.multivector.len();
        if bytes > MOST_ANSWER_BYTES {
            let text = format!("the answer has more than {MOST_ANSWER_BYTES} bytes");
            return Err(Error::BadRequest(text));
        }
        Ok(())
    }

    /// Appends a field for each of the outputs. What Ollama's clients look for is always there.
    pub(crate) fn end(self, outputs: Outputs, out: &mut String) {
        let [sparse, multivector] = [outputs.sparse, outputs.multivector];
        for (name, list, is_wanted) in [
            ("embeddings", self.dense, true),
            ("sparse", self.sparse, sparse),
            ("multivectors", self.multivector, multivector),
        ] {
            if is_wanted {
                let comma = if name == "embeddings" { "" } else { "," };
                put(out, format_args!(r#"{comma}"{name}":[{list}]"#));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sentence-transformers 6.2 gives: `quantize_embeddings([v], precision, ranges=[[-m] * 9, [m] * 9])`.
    #[test]
    fn vectors_are_packed_as_sentence_transformers_packs_them() {
        let vector = [0.5, -0.25, 0.1, -0.5, 0.0, 1e-3, -1e-3, 0.3333, 0.499];
        for (name, wanted) in [
            ("int8", "[126,-65,25,-128,-1,-1,-1,84,126]"),
            ("uint8", "[254,63,153,0,127,127,127,212,254]"),
            ("binary", "[37,0]"),
            ("ubinary", "[165,128]"),
        ] {
            let mut out = String::new();
            Encoding::parse(name).unwrap().write(&mut out, &vector);
            assert_eq!(out, wanted, "{name}");
        }
    }

    #[test]
    fn nothing_is_packed_too() {
        for name in ["int8", "uint8", "binary", "ubinary", "float"] {
            let mut out = String::new();
            Encoding::parse(name).unwrap().write(&mut out, &[]);
            assert_eq!(out, "[]", "{name}");
        }
        let mut out = String::new();
        Encoding::Int8.write(&mut out, &[0.0; 3]);
        assert_eq!(out, "[-1,-1,-1]");
    }
}
