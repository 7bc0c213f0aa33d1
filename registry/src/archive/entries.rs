//! What does a tar archive hold, when nothing in it can be trusted? One pass, and never more than a block in memory.
//!
//! `tar::Archive` is not used: it reads names and attributes of any length into memory.

use std::io::{self, ErrorKind, Read};

use tar::{EntryType, Header};

use super::{BUFFER_BYTES, ENTRIES_LIMIT, unusable};
use crate::error::Result;

const BLOCK: usize = 512;
/// The longest header that belongs to another; a long name, or a size of more than 8 GiB.
const EXTENSION_LIMIT_BYTES: u64 = 64 << 10;

/// The entries of an archive, in their order.
pub(super) struct Entries<R> {
    from: R,
    /// Bytes of the current entry that nobody has read yet.
    left: u64,
    /// Bytes behind the current entry that fill its last block.
    padding: u64,
    seen: usize,
}

/// A regular file of an archive; its content is what [`Entries`] reads next.
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) size: u64,
}

/// What the headers before an entry say about it.
#[derive(Default)]
struct Extension {
    path: Option<String>,
    size: Option<u64>,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, left: 0, padding: 0, seen: 0 }
    }

    /// Goes on to the next regular file, whatever is unread of the one before.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let own = header.entry_size().map_err(|_cause| unusable("it is damaged"))?;
            let kind = header.entry_type();
            let is_extension = is_extension(kind);
            self.enter(extension.size.filter(|_| !is_extension).unwrap_or(own))?;
            if is_extension {
                let bytes = self.bytes(EXTENSION_LIMIT_BYTES)?;
                extension.add(kind, &bytes)?;
                continue;
            }
            let Extension { path, size } = std::mem::take(&mut extension);
            let path =
                path.unwrap_or_else(|| String::from_utf8_lossy(&header.path_bytes()).into_owned());
            let size = size.unwrap_or(own);
            check(&path, kind)?;
            if is_file(kind) && !path.ends_with('/') {
                let path = path.strip_prefix("./").map(str::to_owned).unwrap_or(path);
                return Ok(Some(Entry { path, size }));
            }
        }
    }

    /// Reads more of the current entry; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.fill(&mut buffer[..most])?;
        self.left -= most as u64;
        Ok(most)
    }

    /// Returns the rest of the current entry, which must not be long.
    pub(super) fn bytes(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.left > limit {
            return Err(unusable(format!("a part of it is longer than {limit} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(self.left).unwrap_or_default()];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the next header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        self.seen += 1;
        if self.seen > ENTRIES_LIMIT {
            return Err(unusable(format!("it has more than {ENTRIES_LIMIT} entries")));
        }
        let header = Header::from_byte_slice(&block).clone();
        let mut summed = header.clone();
        summed.set_cksum();
        match (header.cksum(), summed.cksum()) {
            (Ok(told), Ok(is)) if told == is => Ok(Some(header)),
            _ if self.seen == 1 => Err(unusable(
                "it is no tar archive, or a compressed one, which has to be unpacked first",
            )),
            _ => Err(unusable("it is damaged")),
        }
    }

    fn enter(&mut self, size: u64) -> Result<()> {
        let whole = size.checked_next_multiple_of(BLOCK as u64);
        let whole = whole.ok_or_else(|| unusable("it is damaged"))?;
        (self.left, self.padding) = (size, whole - size);
        Ok(())
    }

    /// Reads what is left of the current entry.
    fn skip(&mut self) -> Result<()> {
        self.left = self.left.checked_add(self.padding).ok_or_else(|| unusable("it is damaged"))?;
        self.padding = 0;
        let mut buffer = if self.left == 0 { Vec::new() } else { vec![0; BUFFER_BYTES] };
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.from.read_exact(buffer).map_err(|cause: io::Error| match cause.kind() {
            ErrorKind::UnexpectedEof => unusable("it ends too early"),
            _ => unusable(cause),
        })
    }
}

impl Extension {
    fn add(&mut self, kind: EntryType, bytes: &[u8]) -> Result<()> {
        if kind == EntryType::GNULongName {
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            self.path = Some(String::from_utf8_lossy(name).into_owned());
        }
        if kind != EntryType::XHeader {
            return Ok(());
        }
        for (key, value) in records(bytes).ok_or_else(|| unusable("it is damaged"))? {
            match key {
                b"path" => self.path = Some(String::from_utf8_lossy(value).into_owned()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or_else(|| unusable("it is damaged"))?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Parses `<length> <key>=<value>\n`, again and again.
fn records(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
        let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Some(records)
}

fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::XHeader
            | EntryType::XGlobalHeader
            | EntryType::GNULongName
            | EntryType::GNULongLink
    )
}

fn is_file(kind: EntryType) -> bool {
    kind == EntryType::Regular
}

/// Refuses what no honest archive of models holds.
fn check(path: &str, kind: EntryType) -> Result<()> {
    let shown = path.escape_debug();
    if !is_file(kind) && kind != EntryType::Directory {
        return Err(unusable(format!("'{shown}' is neither a file nor a folder")));
    }
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(unusable(format!("the path '{shown}' is not allowed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_attributes() {
        let parsed = records(b"13 size=1234\n12 path=a=b\n").unwrap();
        assert_eq!(parsed, [(&b"size"[..], &b"1234"[..]), (b"path", b"a=b")]);
        for bytes in ["", "x", "5 a=b\n", "6 a=b", "99 a=b\n", "0 a=b\n", "4 a\n\n", "1 \n"] {
            let is_empty = bytes.is_empty();
            assert_eq!(records(bytes.as_bytes()).is_some(), is_empty, "{bytes:?}");
        }
    }
}
