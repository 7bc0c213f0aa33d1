//! Is a blob there, and are its bytes what its digest says?

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use modelfiles::Digest;
use rustix::fs::OFlags;

use super::Store;
use crate::error::{Error, Result};
use crate::hash::{Hasher, digest_of, read_all};
use crate::manifest::Layer;

impl Store {
    /// Returns the size of a blob, if the store holds it as a regular file.
    pub fn size_of(&self, digest: &Digest) -> Option<u64> {
        let name = digest.file_name();
        self.roots().find_map(|root| root.size_of(&["blobs", &name]))
    }

    /// Returns the size of a blob, if the own folder holds it.
    pub(super) fn own_size_of(&self, digest: &Digest) -> Option<u64> {
        self.own.size_of(&["blobs", &digest.file_name()])
    }

    /// Tells whether a blob can be taken for whole without being read: it has not changed since its manifest was
    /// written. Damage that was found leaves its mark so, but in the own folder only.
    pub fn is_trusted(&self, layer: &Layer, since: SystemTime) -> bool {
        let Ok(file) = self.open_blob(&layer.digest) else { return false };
        let Ok(metadata) = file.metadata() else { return false };
        metadata.len() == layer.size && metadata.modified().is_ok_and(|modified| modified <= since)
    }

    /// Returns the bytes of a blob that is at most `limit` bytes long.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.open_blob(digest)?;
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|cause| self.io(&self.blob_path(digest), cause))?;
        if bytes.len() as u64 > limit {
            return Err(Error::Corrupt(format!("blob {digest} is longer than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Returns a part of a blob, shorter where the blob ends.
    pub(crate) fn read_part(&self, digest: &Digest, start: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.open_blob(digest)?;
        let read = file.seek(SeekFrom::Start(start));
        let read = read.and_then(|_| file.take(length).read_to_end(&mut bytes));
        read.map_err(|cause| self.io(&self.blob_path(digest), cause))?;
        Ok(bytes)
    }

    /// Stores bytes and returns their digest and size.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(Digest, u64)> {
        let digest = digest_of(bytes);
        let size = bytes.len() as u64;
        if self.size_of(&digest) == Some(size) && self.verify(&digest).is_ok() {
            return Ok((digest, size));
        }
        let mut staging = self.stage(Some(digest))?;
        staging.write(bytes)?;
        staging.finish()
    }

    /// Reads a blob and compares its digest.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let mut hasher = Hasher::default();
        read_all(&mut hasher, &mut self.open_blob(digest)?)
            .map_err(|cause| self.io(&self.blob_path(digest), cause))?;
        match hasher.finish() {
            got if got == *digest => Ok(()),
            got => Err(Error::DigestMismatch { want: *digest, got }),
        }
    }

    /// Removes a blob that `verify` has refused; one that is shared is hidden by the next that comes.
    pub(crate) fn discard(&self, digest: &Digest) -> Result<()> {
        let removed = self.own.remove_file(&["blobs", &digest.file_name()]);
        removed.map_err(|cause| self.io(&self.own_blob_path(digest), cause))
    }

    pub(super) fn unlink(&self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(self.io(path, cause)),
            _ => Ok(()),
        }
    }

    /// Opens a blob; a link or a device under its name is as good as nothing.
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<File> {
        let name = digest.file_name();
        for root in self.roots() {
            match root.file(&["blobs", &name]) {
                Ok(file) => return Ok(file),
                Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(self.io(&root.path.join("blobs").join(name), cause));
                }
                Err(error) => tracing::debug!(%digest, %error, "blob cannot be opened"),
            }
        }
        Err(Error::MissingBlob(*digest))
    }
}

/// Opens a regular file: no link is followed and no pipe waited for.
pub(super) fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}
