//! Is the pickle of a PyTorch file small enough to be read? Its reader executes nothing, but it recurses as deep as
//! objects are nested and copies them whenever they are named again: three kilobytes can ask for every byte there is.
//!
//! So the machine of the pickle runs here first, on sizes instead of objects.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read as _},
    path::Path,
};

use zip::{CompressionMethod, ZipArchive};

/// Bytes of a pickle: the largest models have a few hundred kilobytes.
const MOST_BYTES: u64 = 16 << 20;
/// Objects within objects; a state dict has about ten levels.
const MOST_DEPTH: u32 = 64;
/// Objects that are made or copied, all together.
const MOST_OBJECTS: u64 = 1 << 24;

/// Checks every pickle of a PyTorch file; the error says what is wrong.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| format!("{error}");
    let file = File::open(path).map_err(|e| text(&e))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| text(&e))?;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|e| text(&e))?;
        if entry.compression() != CompressionMethod::Stored {
            return Err("a compressed entry, which PyTorch never writes".to_owned());
        }
        if !entry.name_raw().ends_with(b"data.pkl") {
            continue;
        }
        if entry.size() > MOST_BYTES {
            return Err(format!("a pickle of {} bytes", entry.size()));
        }
        let mut bytes = Vec::new();
        entry.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|e| text(&e))?;
        Machine::default().run(&bytes).ok_or("a pickle that no state dict needs")?;
    }
    Ok(())
}

/// How deep an object is nested, and how many it is made of.
#[derive(Clone, Copy)]
struct Size {
    depth: u32,
    objects: u64,
}

const LEAF: Size = Size { depth: 1, objects: 1 };

/// The stack machine of a pickle.
#[derive(Default)]
struct Machine {
    stack: Vec<Size>,
    marks: Vec<usize>,
    memo: HashMap<u32, Size>,
    objects: u64,
}

impl Machine {
    /// Runs to the end; none when something is unknown, missing or too large.
    fn run(&mut self, mut code: &[u8]) -> Option<()> {
        loop {
            let (operation, rest) = code.split_first()?;
            code = rest;
            match operation {
                b'.' => return Some(()),
                0x80 => skip(&mut code, 1)?,
                b'c' => {
                    line(&mut code)?;
                    line(&mut code)?;
                    self.push(LEAF)?;
                }
                b'q' => self.remember(number(&mut code, 1)?)?,
                b'r' => self.remember(number(&mut code, 4)?)?,
                b'h' => self.recall(number(&mut code, 1)?)?,
                b'j' => self.recall(number(&mut code, 4)?)?,
                b'(' => self.marks.push(self.stack.len()),
                b')' | b'}' | b'd' | b']' | b'N' | 0x88 | 0x89 => self.push(LEAF)?,
                b'K' => self.leaf(&mut code, 1)?,
                b'M' => self.leaf(&mut code, 2)?,
                b'J' => self.leaf(&mut code, 4)?,
                b'G' => self.leaf(&mut code, 8)?,
                b'X' => {
                    let length = number(&mut code, 4)?;
                    self.leaf(&mut code, length as usize)?;
                }
                0x8a => {
                    let length = number(&mut code, 1)?;
                    self.leaf(&mut code, length as usize)?;
                }
                0x85 | b'Q' => self.gather(1)?,
                0x86 | b'R' | 0x81 => self.gather(2)?,
                0x87 => self.gather(3)?,
                b't' => {
                    let mark = self.marks.pop()?;
                    self.gather(self.stack.len().checked_sub(mark)?)?;
                }
                b'e' | b'u' => {
                    let mark = self.marks.pop()?;
                    // The container below the mark takes what stands above it.
                    self.gather(self.stack.len().checked_sub(mark)?.checked_add(1)?)?;
                }
                b'a' | b'b' => self.gather(2)?,
                b's' => self.gather(3)?,
                _ => return None,
            }
        }
    }

    fn push(&mut self, size: Size) -> Option<()> {
        self.objects = self.objects.saturating_add(size.objects);
        self.stack.push(size);
        (size.depth <= MOST_DEPTH && self.objects <= MOST_OBJECTS).then_some(())
    }

    fn leaf(&mut self, code: &mut &[u8], bytes: usize) -> Option<()> {
        skip(code, bytes)?;
        self.push(LEAF)
    }

    /// Makes one object of the last `count`.
    fn gather(&mut self, count: usize) -> Option<()> {
        let parts = self.stack.split_off(self.stack.len().checked_sub(count)?);
        let depth = parts.iter().map(|part| part.depth).max().unwrap_or(0) + 1;
        let objects = parts.iter().fold(1u64, |sum, part| sum.saturating_add(part.objects));
        self.stack.push(Size { depth, objects });
        self.objects += 1;
        (depth <= MOST_DEPTH && objects <= MOST_OBJECTS).then_some(())
    }

    fn remember(&mut self, place: u32) -> Option<()> {
        let size = *self.stack.last()?;
        self.memo.insert(place, size);
        self.objects = self.objects.saturating_add(size.objects);
        (self.objects <= MOST_OBJECTS).then_some(())
    }

    fn recall(&mut self, place: u32) -> Option<()> {
        self.push(*self.memo.get(&place)?)
    }
}

fn skip(code: &mut &[u8], bytes: usize) -> Option<()> {
    *code = code.get(bytes..)?;
    Some(())
}

fn line(code: &mut &[u8]) -> Option<()> {
    let end = code.iter().position(|byte| *byte == b'\n')?;
    skip(code, end + 1)
}

/// Reads a little-endian number.
fn number(code: &mut &[u8], bytes: usize) -> Option<u32> {
    let digits = code.get(..bytes)?;
    let number = digits.iter().rev().fold(0, |sum, digit| sum << 8 | u32::from(*digit));
    skip(code, bytes)?;
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_are_refused_and_small_pickles_are_not() {
        let run = |code: &[u8]| Machine::default().run(code).is_some();
        assert!(run(b"\x80\x02}q\0(X\x01\0\0\0aK\x01u."), "a dict of one entry");
        assert!(run(b"\x80\x02cos\nsystem\nq\x01X\x02\0\0\0ls\x85R."), "a call is data here");
        let nested = [&b"\x80\x02N"[..], &[0x85; 500_000], b"."].concat();
        assert!(!run(&nested), "deep nesting");
        let doubled = [&b"\x80\x02N"[..], &b"q\0h\0\x86".repeat(34), b"."].concat();
        assert!(!run(&doubled), "doubling by memo");
        for broken in [&b""[..], b"\x80", b"R.", b"t.", b"h\x07.", b"X\xff\xff\xff\xffa.", b"\x00."]
        {
            assert!(!run(broken), "{broken:?}");
        }
    }
}
