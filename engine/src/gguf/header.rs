//! How is a GGUF header read without trusting a number in it?
//!
//! By the description that lies beside ggml (docs/gguf.md). A list stays where it is in the file: only its type, length
//! and place are kept, so a header takes no more memory than its keys and names.

use std::{collections::BTreeMap, ops::Range};

use serde_json::{Number, Value};

use super::{Place, types};
use crate::plan::most;

/// Keys; real files have about forty.
const MOST_VALUES: u64 = 1 << 12;
/// Tensors; the largest models have a few thousand.
const MOST_TENSORS: u64 = 1 << 16;
/// Bytes of a key or of the name of a tensor.
const MOST_NAME_BYTES: usize = 1 << 10;
/// Elements of a list that is a setting, not a vocabulary.
pub(super) const MOST_SMALL_VALUES: usize = most::LAYERS;
/// Where tensors begin, unless the file says otherwise: at multiples of this.
const ALIGNMENT: u64 = 32;

/// What a header says.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) values: BTreeMap<String, Entry>,
    pub(super) tensors: BTreeMap<String, Place>,
}

/// A value, or where it lies in the file.
#[derive(Debug)]
pub(super) enum Entry {
    /// A number or truth value.
    Scalar(Value),
    Text(Range<usize>),
    List(List),
}

/// A list of which every element has been seen to be in the file.
#[derive(Debug)]
pub(super) struct List {
    kind: Kind,
    pub(super) count: usize,
    at: Range<usize>,
}

/// Why a header cannot be read.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    Damaged(String),
    /// Something that no file of ours may hold, by name.
    Unsupported(String),
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    List,
    U64,
    I64,
    F64,
}

impl Kind {
    fn of(number: u32) -> Result<Self, Problem> {
        const ALL: [Kind; 13] = [
            Kind::U8,
            Kind::I8,
            Kind::U16,
            Kind::I16,
            Kind::U32,
            Kind::I32,
            Kind::F32,
            Kind::Bool,
            Kind::Text,
            Kind::List,
            Kind::U64,
            Kind::I64,
            Kind::F64,
        ];
        let found = usize::try_from(number).ok().and_then(|number| ALL.get(number));
        found.copied().ok_or_else(|| damaged(format!("holds a value of the unknown type {number}")))
    }

    /// Returns the bytes of a value; none where they differ.
    fn bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::List => None,
        }
    }

    /// Reads a number or truth value from exactly its bytes.
    fn scalar(self, bytes: &[u8]) -> Value {
        let unsigned = bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let unused = 64 - 8 * bytes.len() as u32;
        let signed = (unsigned << unused).cast_signed() >> unused;
        let float = |x: f64| Number::from_f64(x).map_or(Value::Null, Value::Number);
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Value::from(unsigned),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => Value::from(signed),
            Self::F32 => float(f64::from(f32::from_bits(unsigned as u32))),
            Self::F64 => float(f64::from_bits(unsigned)),
            Self::Bool => Value::Bool(unsigned != 0),
            Self::Text | Self::List => Value::Null,
        }
    }
}

impl List {
    /// Returns the numbers or truth values.
    pub(super) fn numbers(&self, whole: &[u8]) -> Vec<Value> {
        let Some(size) = self.kind.bytes() else { return Vec::new() };
        whole[self.at.clone()].chunks_exact(size).map(|bytes| self.kind.scalar(bytes)).collect()
    }

    /// Returns the numbers; none if there are other things.
    pub(super) fn floats(&self, whole: &[u8]) -> Option<Vec<f64>> {
        let size = self.kind.bytes()?;
        let elements = whole[self.at.clone()].chunks_exact(size);
        elements.map(|bytes| self.kind.scalar(bytes).as_f64()).collect()
    }

    /// Returns the bytes; none if the elements are larger.
    pub(super) fn bytes<'a>(&self, whole: &'a [u8]) -> Option<&'a [u8]> {
        matches!(self.kind, Kind::U8 | Kind::I8).then(|| &whole[self.at.clone()])
    }

    /// Returns the texts; none if there are other things.
    pub(super) fn texts(&self, whole: &[u8]) -> Option<Vec<String>> {
        if self.kind != Kind::Text {
            return None;
        }
        let mut cursor = Cursor { whole, at: self.at.start };
        let text = |at: Range<usize>| String::from_utf8_lossy(&whole[at]).into_owned();
        (0..self.count).map(|_| cursor.text().ok().map(text)).collect()
    }
}

/// Reads a header.
pub(super) fn read(whole: &[u8]) -> Result<Header, Problem> {
    let mut cursor = Cursor { whole, at: 0 };
    if cursor.take(4) != Ok(b"GGUF") {
        return Err(damaged("is not in GGUF format"));
    }
    match cursor.number(4)? {
        2 | 3 => {}
        version => return Err(Problem::Unsupported(format!("GGUF files of version {version}"))),
    }
    let (tensors, values) = (cursor.number(8)?, cursor.number(8)?);
    if tensors > MOST_TENSORS || values > MOST_VALUES {
        return Err(damaged(format!("claims to hold {tensors} tensors and {values} values")));
    }
    let mut header = Header::default();
    for _ in 0..values {
        let (key, kind) = (cursor.name()?, Kind::of(cursor.number(4)? as u32)?);
        let entry = cursor.entry(kind)?;
        if header.values.insert(key.clone(), entry).is_some() {
            return Err(damaged(format!("holds '{key}' twice")));
        }
    }
    for _ in 0..tensors {
        let (name, place) = cursor.tensor()?;
        if header.tensors.insert(name.clone(), place).is_some() {
            return Err(damaged(format!("holds tensor '{name}' twice")));
        }
    }
    let end = cursor.at as u64;
    settle(&mut header, end, whole.len() as u64)?;
    Ok(header)
}

/// Makes offsets count from the start of the file, and checks that every tensor lies in it.
fn settle(header: &mut Header, end: u64, size: u64) -> Result<(), Problem> {
    let alignment = match header.values.get("general.alignment") {
        Some(Entry::Scalar(value)) => value.as_u64().unwrap_or_default(),
        Some(_) => 0,
        None => ALIGNMENT,
    };
    // Blocks of weights are read in place, as numbers of up to eight bytes.
    if !alignment.is_power_of_two() || !(8..=1 << 20).contains(&alignment) {
        return Err(damaged(format!("aligns tensors at {alignment} bytes")));
    }
    let start = end.next_multiple_of(alignment);
    for (name, place) in &mut header.tensors {
        let offset = start.checked_add(place.offset);
        let last = offset.and_then(|offset| offset.checked_add(place.bytes as u64));
        if !place.offset.is_multiple_of(alignment) || last.is_none_or(|last| last > size) {
            return Err(damaged(format!("tensor '{name}' does not lie in the file")));
        }
        place.offset = offset.unwrap_or(size);
    }
    Ok(())
}

/// A place in the file from which the next value is read.
struct Cursor<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Problem> {
        let rest = &self.whole[self.at..];
        let found = rest.get(..bytes).ok_or_else(|| damaged("ends within its header"))?;
        self.at += bytes;
        Ok(found)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, Problem> {
        let digits = self.take(bytes)?;
        Ok(digits.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// Reads a number of bytes or elements.
    fn length(&mut self) -> Result<usize, Problem> {
        usize::try_from(self.number(8)?).map_err(|e| damaged(e.to_string()))
    }

    /// Passes a text and returns where it lies.
    fn text(&mut self) -> Result<Range<usize>, Problem> {
        let length = self.length()?;
        self.take(length)?;
        Ok(self.at - length..self.at)
    }

    fn name(&mut self) -> Result<String, Problem> {
        let at = self.text()?;
        let name = std::str::from_utf8(&self.whole[at]);
        match name {
            Ok(name) if name.len() <= MOST_NAME_BYTES => Ok(name.to_owned()),
            _ => Err(damaged("holds a key that is no text, or a long one")),
        }
    }

    fn entry(&mut self, kind: Kind) -> Result<Entry, Problem> {
        Ok(match kind {
            Kind::Text => Entry::Text(self.text()?),
            Kind::List => Entry::List(self.list()?),
            _ => Entry::Scalar(kind.scalar(self.take(kind.bytes().unwrap_or_default())?)),
        })
    }

    fn list(&mut self) -> Result<List, Problem> {
        let kind = Kind::of(self.number(4)? as u32)?;
        let count = self.length()?;
        let start = self.at;
        match kind {
            Kind::List => {
                return Err(Problem::Unsupported("GGUF files with lists of lists".into()));
            }
            Kind::Text if count > most::VOCABULARY => {
                return Err(damaged(format!("claims to hold a list of {count} texts")));
            }
            Kind::Text => {
                for _ in 0..count {
                    self.text()?;
                }
            }
            _ => {
                let bytes = count.checked_mul(kind.bytes().unwrap_or(1));
                self.take(bytes.ok_or_else(|| damaged("ends within its header"))?)?;
            }
        }
        Ok(List { kind, count, at: start..self.at })
    }

    /// Reads the name, shape and type of a tensor; its offset counts from the end of the header yet.
    fn tensor(&mut self) -> Result<(String, Place), Problem> {
        let name = self.name()?;
        let dimensions = self.number(4)?;
        if dimensions > 4 {
            return Err(damaged(format!("tensor '{name}' has {dimensions} dimensions")));
        }
        let shape = (0..dimensions).map(|_| self.length()).collect::<Result<Vec<_>, _>>()?;
        let dtype = types::element(self.number(4)? as u32).map_err(|found| {
            Problem::Unsupported(format!("tensors of type {found} ('{name}' is one)"))
        })?;
        let offset = self.number(8)?;
        let row = shape.first().copied().unwrap_or(1);
        let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let blocks = count.filter(|_| row.is_multiple_of(dtype.block_size()));
        let bytes =
            blocks.and_then(|count| (count / dtype.block_size()).checked_mul(dtype.type_size()));
        let bytes = bytes.ok_or_else(|| damaged(format!("tensor '{name}' has an odd shape")))?;
        // The file names the innermost dimension first.
        let shape = shape.into_iter().rev().collect();
        Ok((name, Place { dtype, shape, offset, bytes }))
    }
}

fn damaged(text: impl Into<String>) -> Problem {
    Problem::Damaged(text.into())
}
