//! Which bytes of a partial download are there, told so that a crash at any moment leaves the truth?
//!
//! A line for each part that was written: where it begins, where it ends, and a checksum of it. A part counts
//! when its bytes still have that checksum, so neither a line without its bytes nor bytes that a power cut has
//! damaged can do harm. `tag` lines hold what the server calls the version of the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::blobs::open_plain;
use super::extents::Extents;
use crate::hash::Hasher;

/// A longer journal is not one of ours.
const LIMIT_BYTES: u64 = 64 << 20;
/// Bytes checked at once.
const BUFFER_BYTES: usize = 1 << 18;

/// The journal of a partial that is open.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

/// What a partial holds.
#[derive(Default)]
pub(super) struct Told {
    pub(super) held: Extents,
    pub(super) tag: Option<String>,
    /// The hash of the part at the beginning.
    pub(super) hasher: Hasher,
}

impl Journal {
    /// Reads the journal of a partial, checks it against the bytes, and opens it for further parts.
    pub(super) fn open(path: PathBuf, data: &File) -> io::Result<(Self, Told)> {
        let (parts, tag) = read(&path);
        let (kept, told) = check(parts, tag, data)?;
        // Only what was found true is carried over.
        let mut text = told.tag.as_deref().map(tag_line).unwrap_or_default();
        kept.iter().for_each(|(part, crc)| text.push_str(&part_line(part, *crc)));
        let aside = path.with_extension("new");
        drop(fs::remove_file(&aside));
        let mut options = OpenOptions::new();
        let mut file = open_plain(options.append(true).create_new(true), &aside)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&aside, &path)?;
        Ok((Self { file, path }, told))
    }

    /// Takes note of a part whose bytes are written.
    pub(super) fn add(&mut self, part: &Range<u64>, crc: u32) -> io::Result<()> {
        self.file.write_all(part_line(part, crc).as_bytes())
    }

    /// Takes note of what the server calls the version of the file.
    pub(super) fn tag(&mut self, tag: &str) -> io::Result<()> {
        self.file.write_all(tag_line(tag).as_bytes())
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// Removes the journal.
    pub(super) fn remove(&self) {
        drop(fs::remove_file(&self.path));
    }
}

/// Returns the bytes that a journal tells of, unchecked: enough to show how far somebody else is.
pub(super) fn told(path: &Path) -> u64 {
    let mut held = Extents::default();
    read(path).0.into_iter().for_each(|(part, _)| held.insert(part));
    held.total()
}

fn part_line(part: &Range<u64>, crc: u32) -> String {
    format!("{} {} {crc:08x}\n", part.start, part.end)
}

fn tag_line(tag: &str) -> String {
    let hex: Vec<String> = tag.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("tag {}\n", hex.concat())
}

/// Returns the parts that a journal tells of, and the newest tag; a line that was cut off ends it.
fn read(path: &Path) -> (Vec<(Range<u64>, u32)>, Option<String>) {
    let mut text = String::new();
    let file = open_plain(OpenOptions::new().read(true), path);
    drop(file.and_then(|file| file.take(LIMIT_BYTES).read_to_string(&mut text)));
    let (mut parts, mut tag) = (Vec::new(), None);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        if let Some(hex) = line.strip_prefix("tag ") {
            tag = tag_of(hex);
        } else if let Some(part) = part_of(line) {
            parts.push(part);
        } else {
            break;
        }
    }
    parts.sort_by_key(|(part, _)| part.start);
    // Parts never begin at one place: what is there is not fetched again.
    parts.dedup_by_key(|(part, _)| part.start);
    (parts, tag)
}

fn part_of(line: &str) -> Option<(Range<u64>, u32)> {
    let mut words = line.split(' ');
    let (start, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let crc = u32::from_str_radix(words.next()?, 16).ok()?;
    (start < end).then_some((start..end, crc))
}

fn tag_of(hex: &str) -> Option<String> {
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

/// A part and the checksum of its bytes.
type Part = (Range<u64>, u32);

/// Reads the parts again and keeps those whose bytes are the ones that were written.
fn check(parts: Vec<Part>, tag: Option<String>, data: &File) -> io::Result<(Vec<Part>, Told)> {
    let size = data.metadata()?.len();
    let mut told = Told { tag, ..Told::default() };
    let mut kept = Vec::new();
    for (part, crc) in parts {
        // Parts never overlap: what is there is not fetched again.
        if part.start < told.held.end() || part.end > size {
            continue;
        }
        let is_next = part.start == told.held.prefix();
        let mut hasher = told.hasher.clone();
        if checksum(data, &part, &mut hasher)? == crc {
            if is_next {
                told.hasher = hasher;
            }
            told.held.insert(part.clone());
            kept.push((part, crc));
        }
    }
    Ok((kept, told))
}

fn checksum(data: &File, part: &Range<u64>, hasher: &mut Hasher) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = part.start;
    while at < part.end {
        let wanted = usize::try_from(part.end - at).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        data.read_exact_at(&mut buffer[..wanted], at)?;
        crc.update(&buffer[..wanted]);
        hasher.update(&buffer[..wanted]);
        at += wanted as u64;
    }
    Ok(crc.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::digest_of;

    #[test]
    fn only_true_parts_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parts");
        let data = tempfile::tempfile().unwrap();
        data.write_all_at(b"0123456789", 0).unwrap();
        let crc = |bytes: &[u8]| crc32fast::hash(bytes);
        let lines = [
            tag_line("\"a b\""),
            part_line(&(5..7), crc(b"56")),
            part_line(&(0..3), crc(b"012")),
            part_line(&(3..5), crc(b"xx")),
            part_line(&(7..9), crc(b"78")),
            part_line(&(8..20), crc(b"8")),
            "9 10 2".to_owned(),
        ];
        fs::write(&path, lines.concat()).unwrap();
        assert_eq!(super::told(&path), 20);
        let (mut journal, told) = Journal::open(path.clone(), &data).unwrap();
        assert_eq!(told.tag.as_deref(), Some("\"a b\""));
        assert_eq!((told.held.prefix(), told.held.total()), (3, 7));
        assert_eq!(told.hasher.finish(), digest_of(b"012"));
        journal.add(&(3..5), crc(b"34")).unwrap();
        let (mut journal, told) = Journal::open(path.clone(), &data).unwrap();
        assert_eq!((told.held.prefix(), told.held.total()), (9, 9));
        assert_eq!(told.hasher.finish(), digest_of(b"012345678"));
        journal.clear().unwrap();
        let (_, told) = Journal::open(path.clone(), &data).unwrap();
        assert_eq!((told.held.total(), told.tag), (0, None));
        fs::write(&path, b"\xff\xfe 1 2\n").unwrap();
        assert_eq!(Journal::open(path, &data).unwrap().1.held.total(), 0);
    }
}
