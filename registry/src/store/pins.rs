//! Which blobs does somebody still need whose manifest is not written yet?
//!
//! A pin is a file in the staging folder that lists digests and is locked as long as its maker lives. Who removes
//! blobs passes over those of locked pins; the pin of a killed process is as good as none.

use std::collections::HashSet;
use std::fs::{self, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use modelfiles::Digest;
use tempfile::NamedTempFile;

use super::Store;
use super::root::{entries, open_file};
use crate::error::Result;
use crate::hash::digest_of;

const PREFIX: &str = "pin-";
/// A pin is no longer than the digests of the largest model.
const LIMIT_BYTES: u64 = 1 << 20;

/// Keeps blobs from being removed as long as it lives.
pub struct Pin {
    store: Store,
    file: NamedTempFile,
}

impl Store {
    /// Keeps these blobs, be they here or on their way, until the pin is dropped.
    pub fn pin(&self, digests: impl IntoIterator<Item = Digest>) -> Result<Pin> {
        let folder = self.staging_folder();
        // Nobody removes blobs under this lock: who does so later sees the pin.
        let _lock = self.lock()?;
        let create = || {
            self.make_folder("staging")?;
            let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&folder)?;
            // Other users of the store must be able to read it.
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            file.as_file().lock()?;
            Ok(file)
        };
        let file = create().map_err(|cause| self.io(&folder, cause))?;
        let mut pin = Pin { store: self.clone(), file };
        digests.into_iter().try_for_each(|digest| pin.add(digest))?;
        Ok(pin)
    }

    /// Returns the digests of all pins whose makers live, or `None` when one cannot be read.
    pub(super) fn pinned(&self) -> Option<HashSet<Digest>> {
        let mut pinned = HashSet::new();
        let Ok(folder) = self.own.folder(&["staging"]) else { return Some(pinned) };
        for (name, _) in entries(&folder).ok()? {
            if !name.starts_with(PREFIX) {
                continue;
            }
            let file = match open_file(&folder, &name) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
                Err(_gone) => continue,
            };
            if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
                let mut text = String::new();
                drop(file.take(LIMIT_BYTES).read_to_string(&mut text));
                pinned.extend(text.lines().filter_map(Digest::from_hex));
            }
        }
        Some(pinned)
    }
}

impl Pin {
    /// Keeps one more blob.
    pub fn add(&mut self, digest: Digest) -> Result<()> {
        let written = self.file.write_all(format!("{}\n", digest.hex()).as_bytes());
        written.map_err(|cause| self.store.io(self.file.path(), cause))
    }

    /// Stores bytes that are kept from the beginning, and returns their digest and size.
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result<(Digest, u64)> {
        self.add(digest_of(bytes))?;
        self.store.put_bytes(bytes)
    }
}
