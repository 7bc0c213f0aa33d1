//! How does a file of somebody else become a blob? Shared where the file system can, else copied; and hashed first.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use modelfiles::Digest;
use tempfile::{NamedTempFile, TempPath};

use super::blobs::open_plain;
use super::root::Root;
use super::{Store, sync_folder};
use crate::error::{Error, Result};
use crate::hash::{Hasher, read_all};

/// Everybody may read, as with all blobs.
const READABLE_BY_ALL: u32 = 0o444;
/// Group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

impl Store {
    /// Returns the store in a directory as it is; nothing is created there.
    pub(crate) fn as_it_is(root: &Path) -> Result<Self> {
        Ok(Self { own: Root::look(root)?, shared: Arc::default() })
    }

    /// Makes a file of somebody else a blob, without any change to that file; `None` when its bytes are others.
    ///
    /// The blob has its own bytes, shared by the file system (reflink) or copied. A second name for the same file
    /// (hard link) is given only to a file that nobody but us may write.
    pub(crate) fn adopt(&self, digest: Digest, path: &Path) -> Result<Option<u64>> {
        let donor = match open_plain(OpenOptions::new().read(true), path) {
            Ok(donor) => donor,
            Err(error) => {
                tracing::debug!(%digest, path = %path.display(), %error, "donor cannot be opened");
                return Ok(None);
            }
        };
        let (folder, target) = (self.staging_folder(), self.own_blob_path(&digest));
        let adopt = || -> io::Result<Option<u64>> {
            self.make_folder("staging")?;
            let (file, place) = bring(&donor, path, &folder)?;
            // Who removes what is left over passes over files that are locked.
            file.try_lock_shared().ok();
            let mut hasher = Hasher::default();
            let size = read_all(&mut hasher, &mut &file)?;
            if hasher.finish() != digest {
                tracing::debug!(%digest, path = %path.display(), "donor holds other bytes");
                return Ok(None);
            }
            file.sync_all()?;
            self.make_folder("blobs")?;
            // Where the target is the same file already, this does nothing; the temporary name goes when dropped.
            fs::rename(&place, &target)?;
            sync_folder(&self.blobs())?;
            Ok(Some(size))
        };
        match adopt().map_err(|cause| self.io(&target, cause)) {
            Err(error) if !matches!(error, Error::NoSpace { .. }) => {
                tracing::debug!(%digest, path = %path.display(), %error, "donor cannot be used");
                Ok(None)
            }
            outcome => outcome,
        }
    }
}

/// Brings the donor's bytes under a temporary name, and returns them open at their beginning.
fn bring(donor: &File, path: &Path, folder: &Path) -> io::Result<(File, TempPath)> {
    if let Some(place) = reflink(donor, folder) {
        let file = open_plain(OpenOptions::new().read(true), &place)?;
        return Ok((file, place));
    }
    if let Some(linked) = link(donor, path, folder) {
        return Ok(linked);
    }
    let mut copy = temporary(folder)?;
    io::copy(&mut &*donor, &mut copy)?;
    copy.flush()?;
    let place = copy.into_temp_path();
    Ok((open_plain(OpenOptions::new().read(true), &place)?, place))
}

fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("blob-").permissions(Permissions::from_mode(0o644)).tempfile_in(folder)
}

/// Makes a file that shares the donor's bytes until one of them changes.
#[cfg(target_os = "linux")]
fn reflink(donor: &File, folder: &Path) -> Option<TempPath> {
    let clone = temporary(folder).ok()?;
    rustix::fs::ioctl_ficlone(clone.as_file(), donor).ok()?;
    Some(clone.into_temp_path())
}

/// Makes a file that shares the donor's bytes until one of them changes.
#[cfg(target_os = "macos")]
fn reflink(donor: &File, folder: &Path) -> Option<TempPath> {
    // The clone must be a new file: its name comes from one that was there a moment ago.
    let place = temporary(folder).ok()?.into_temp_path();
    fs::remove_file(&place).ok()?;
    rustix::fs::fclonefileat(donor, rustix::fs::CWD, &*place, rustix::fs::CloneFlags::empty())
        .ok()?;
    fs::set_permissions(&place, Permissions::from_mode(0o644)).ok()?;
    Some(place)
}

/// Other systems copy.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn reflink(_donor: &File, _folder: &Path) -> Option<TempPath> {
    None
}

/// Gives the donor a second name, if it is ours alone to write and lies on the same file system.
fn link(donor: &File, path: &Path, folder: &Path) -> Option<(File, TempPath)> {
    let theirs = donor.metadata().ok()?;
    let place = temporary(folder).ok()?.into_temp_path();
    let ours = fs::symlink_metadata(&place).ok()?;
    let is_ours = theirs.uid() == ours.uid()
        && theirs.mode() & WRITABLE_BY_OTHERS == 0
        && theirs.mode() & READABLE_BY_ALL == READABLE_BY_ALL;
    if !is_ours || theirs.dev() != ours.dev() {
        return None;
    }
    fs::remove_file(&place).ok()?;
    fs::hard_link(path, &place).ok()?;
    let linked = open_plain(OpenOptions::new().read(true), &place).ok()?;
    // Another file may have taken the donor's name since it was opened.
    let is_same = linked.metadata().ok()?.ino() == theirs.ino();
    is_same.then_some((linked, place))
}
