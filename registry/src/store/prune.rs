//! What did interrupted work leave behind that nobody will come back for?

use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use modelfiles::Digest;
use rustix::fs::statvfs;

use super::Store;
use super::blobs::open_plain;
use crate::error::{Error, Result};

/// A temporary file, or a blob without a model, is left over after this time.
const STALE: Duration = Duration::from_secs(60 * 60);
/// A partial download is worth resuming for this time.
const PARTIAL_STALE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Store {
    /// Removes old temporary files and partials.
    pub fn prune_leftovers(&self) -> Result<()> {
        for path in entries(&self.staging_folder()) {
            if is_older(&path, STALE) {
                remove_any(&path);
            }
        }
        for path in entries(&self.blobs()) {
            let is_partial = file_name(&path).is_some_and(is_our_partial);
            if is_partial && is_older(&path, PARTIAL_STALE) {
                remove_unlocked(&path);
            }
        }
        Ok(())
    }

    /// Removes old blobs that no model names; nothing while a manifest is unreadable.
    pub fn prune_unreferenced(&self) -> Result<()> {
        let _lock = match self.lock() {
            Ok(lock) => lock,
            // A store that cannot be written can still be served.
            Err(Error::Io { cause, .. }) if is_read_only(&cause) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(used) = self.referenced()? else { return Ok(()) };
        for path in entries(&self.blobs()) {
            let digest = file_name(&path).and_then(|name| Digest::parse(name).ok());
            let Some(digest) = digest else { continue };
            if !used.contains(&digest) && path == self.blob_path(&digest) && is_older(&path, STALE)
            {
                self.unlink(&path)?;
            }
        }
        Ok(())
    }

    /// Checks that this many more bytes fit on the disk.
    pub(crate) fn check_space(&self, needed: u64) -> Result<()> {
        // Where the system does not say, the write itself will.
        let Ok(disk) = statvfs(&*self.root) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed <= free {
            return Ok(());
        }
        Err(Error::NoSpace { needed: Some(needed - free) })
    }
}

fn is_read_only(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn is_our_partial(name: &str) -> bool {
    name.strip_suffix("-partial").is_some_and(|digest| Digest::parse(digest).is_ok())
}

/// Tells whether a file, or the newest file of a folder, has not changed for a while.
fn is_older(path: &Path, age: Duration) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let is_old = |metadata: &Metadata| {
        let elapsed =
            metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        elapsed.is_some_and(|elapsed| elapsed > age)
    };
    is_old(&metadata)
        && (!metadata.is_dir() || entries(path).iter().all(|inner| is_older(inner, age)))
}

/// Removes a partial that nobody writes; who opens it meanwhile finds out by its lock.
fn remove_unlocked(path: &Path) {
    let Ok(file) = open_plain(OpenOptions::new().read(true), path) else { return };
    if file.try_lock().is_ok() {
        remove_any(path);
    }
}

fn remove_any(path: &Path) {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    if let Err(error) = removed {
        tracing::debug!(path = %path.display(), %error, "leftover cannot be removed");
    }
}
