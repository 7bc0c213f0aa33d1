//! Who made this store, and do we understand it? `vecuna.json` in its folder says so.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::root::{self, Root};
use crate::error::{Error, Result};

/// The name of the file.
const FILE: &str = "vecuna.json";
/// The format that we write; it changes when an older version could do harm.
const FORMAT: u32 = 1;
/// The file has a dozen bytes.
const LIMIT_BYTES: u64 = 1 << 16;

#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
}

/// Tells whether one of us made the store; a store of a later version is refused.
pub(super) fn read(root: &Root) -> Result<bool> {
    let file = match root.file(&[FILE]) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(false),
        Err(cause) => return Err(Error::Io { path: root.path.join(FILE), cause }),
    };
    let mut text = Vec::new();
    let read = file.take(LIMIT_BYTES).read_to_end(&mut text);
    read.map_err(|cause| Error::Io { path: root.path.join(FILE), cause })?;
    let folder = root.path.display();
    let about: About = serde_json::from_slice(&text)
        .map_err(|error| Error::Corrupt(format!("'{FILE}' of the store '{folder}': {error}")))?;
    if about.format <= FORMAT {
        return Ok(true);
    }
    let format = about.format;
    Err(Error::Corrupt(format!(
        "the store '{folder}' has format {format}, and this version knows none beyond {FORMAT}; \
         use the version that made it, or name another store"
    )))
}

/// Says that we made the store; one that cannot be written is nobody's.
pub(super) fn write(root: &Root) -> Result<()> {
    let path = root.path.join(FILE);
    let written = || {
        let folder = root.folder(&[])?;
        let about = serde_json::to_string(&About { format: FORMAT })?;
        root::put(&folder, &folder, FILE, format!("{about}\n").as_bytes())
    };
    match written() {
        Err(error) if is_read_only(&error) => Ok(()),
        other => other.map_err(|cause| Error::io(&root.path, &path, cause)),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}
