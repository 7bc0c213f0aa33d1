//! How do bytes become a blob? Written aside and hashed on the way, synced, then renamed.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use modelfiles::Digest;
use tempfile::TempPath;

use super::blobs::open_plain;
use super::{Store, sync_folder};
use crate::error::{Error, Result};
use crate::hash::{Hasher, read_all};

/// A blob in the making. Dropped before `finish`, it leaves nothing but a partial that can be resumed.
pub struct Staging {
    store: Store,
    file: File,
    place: Place,
    hasher: Hasher,
    size: u64,
    expected: Option<Digest>,
}

enum Place {
    /// A file without a name worth keeping.
    Temporary(TempPath),
    /// The partial of a known digest, locked as long as it is open.
    Partial(PathBuf),
}

impl Store {
    /// Begins a blob in a temporary file.
    pub fn stage(&self, expected: Option<Digest>) -> Result<Staging> {
        let folder = self.staging_folder();
        let create = || {
            fs::create_dir_all(&folder)?;
            tempfile::Builder::new().prefix("blob-").tempfile_in(&folder)
        };
        let (file, path) = create().map_err(|cause| self.io(&folder, cause))?.into_parts();
        let place = Place::Temporary(path);
        Ok(Staging {
            store: self.clone(),
            file,
            place,
            hasher: Hasher::default(),
            size: 0,
            expected,
        })
    }

    /// Continues or begins the partial of a known digest; `None` while somebody else writes it.
    pub(crate) fn resume(&self, digest: Digest) -> Result<Option<Staging>> {
        let path = self.partial_path(&digest);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = open_plain(&mut options, &path).map_err(|cause| self.io(&path, cause))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(cause)) => return Err(self.io(&path, cause)),
        }
        if !is_same_file(&file, &path) {
            // The writer before us has renamed or removed it between our open and our lock.
            return Ok(None);
        }
        if self.size_of(&digest).is_some() {
            // The writer before us was done before our open, which made an empty file.
            self.unlink(&path)?;
            return Ok(None);
        }
        let mut hasher = Hasher::default();
        let size = read_all(&mut hasher, &mut file).map_err(|cause| self.io(&path, cause))?;
        let place = Place::Partial(path);
        Ok(Some(Staging { store: self.clone(), file, place, hasher, size, expected: Some(digest) }))
    }

    /// Returns the size of the partial that somebody writes.
    pub(crate) fn partial_size(&self, digest: &Digest) -> u64 {
        fs::symlink_metadata(self.partial_path(digest)).map_or(0, |metadata| metadata.len())
    }
}

impl Staging {
    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|cause| self.io(cause))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Returns the number of bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Throws away all bytes so far.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|cause| self.io(cause))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|cause| self.io(cause))?;
        self.hasher = Hasher::default();
        self.size = 0;
        Ok(())
    }

    /// Makes the bytes a blob, unless they are not what was expected: then nothing is left of them.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let got = self.hasher.clone().finish();
        if let Some(want) = self.expected
            && want != got
        {
            if let Place::Partial(path) = &self.place {
                self.store.unlink(path)?;
            }
            return Err(Error::DigestMismatch { want, got });
        }
        self.settle(got)?;
        Ok((got, self.size))
    }

    fn settle(&self, digest: Digest) -> Result<()> {
        let target = self.store.blob_path(&digest);
        let source = match &self.place {
            Place::Temporary(path) => path.to_path_buf(),
            Place::Partial(path) => path.clone(),
        };
        let settle = || {
            self.file.set_permissions(Permissions::from_mode(0o644))?;
            self.file.sync_all()?;
            fs::create_dir_all(self.store.blobs())?;
            fs::rename(source, &target)?;
            sync_folder(&self.store.blobs())
        };
        settle().map_err(|cause| self.store.io(&target, cause))
    }

    fn io(&self, cause: std::io::Error) -> Error {
        match &self.place {
            Place::Temporary(path) => self.store.io(path, cause),
            Place::Partial(path) => self.store.io(path, cause),
        }
    }
}

fn is_same_file(file: &File, path: &PathBuf) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}
