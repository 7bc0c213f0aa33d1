//! How large and how old is something in a folder, does somebody hold it, and how does it go?

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};

use super::root::{entries, file_type, open_file, remove, remove_folder, size, stat, step};

/// Folders within folders that are looked into; pip makes a handful.
const DEPTH: usize = 32;
/// What the system tells as the space of a file comes in pieces of this many bytes.
const BLOCK_BYTES: u64 = 512;

/// A file, or a folder with all that is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leftover {
    /// The space that it takes; a file with holes takes less than its size.
    pub(super) bytes: u64,
    modified: SystemTime,
}

impl Leftover {
    /// Looks at what a name in a folder stands for.
    pub(super) fn of(folder: &OwnedFd, name: &str) -> io::Result<Self> {
        Self::within(folder, name, DEPTH)
    }

    fn within(folder: &OwnedFd, name: &str, depth: usize) -> io::Result<Self> {
        let stat = stat(folder, name)?;
        if file_type(&stat) != FileType::Directory {
            return Ok(Self { bytes: space(&stat), modified: modified(&stat) });
        }
        let inner = step(folder, name)?;
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        entries(&inner)?
            .iter()
            .try_fold(Self { bytes: 0, modified: modified(&stat) }, |sum, (name, _)| {
                Ok(sum.with(Self::within(&inner, name, depth)?))
            })
    }

    /// Returns both as one.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            modified: self.modified.max(other.modified),
        }
    }

    /// Tells whether the newest of it has not changed for a while.
    pub(super) fn is_older(&self, age: Duration) -> bool {
        let elapsed = SystemTime::now().duration_since(self.modified);
        age.is_zero() || elapsed.is_ok_and(|elapsed| elapsed >= age)
    }
}

/// Takes hold of a file, so that nobody begins to write it as long as what is returned lives; `None` while somebody
/// does. What is no file is held by nobody.
pub(super) fn hold(folder: &OwnedFd, name: &str) -> Option<Option<File>> {
    let Ok(file) = open_file(folder, name) else { return Some(None) };
    file.try_lock().ok()?;
    // The writer before us may have made it a blob, and another may have begun a new one.
    let now = open_file(folder, name).and_then(|now| now.metadata()).ok()?;
    let held = file.metadata().ok()?;
    ((held.dev(), held.ino()) == (now.dev(), now.ino())).then_some(Some(file))
}

/// Removes a file, or a folder with all that is in it.
pub(super) fn remove_all(folder: &OwnedFd, name: &str) -> io::Result<()> {
    remove_within(folder, name, DEPTH)
}

fn remove_within(folder: &OwnedFd, name: &str, depth: usize) -> io::Result<()> {
    if file_type(&stat(folder, name)?) != FileType::Directory {
        return remove(folder, name);
    }
    let inner = step(folder, name)?;
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    for (name, _) in entries(&inner)? {
        remove_within(&inner, &name, depth)?;
    }
    remove_folder(folder, name)
}

fn too_deep() -> io::Error {
    io::Error::other("folders lie too deep in one another")
}

fn space(stat: &Stat) -> u64 {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    size(stat).min(blocks.saturating_mul(BLOCK_BYTES))
}

/// Returns the time of the last change, in whole seconds.
fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}
