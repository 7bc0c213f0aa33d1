//! How do models come and go? Everything that changes manifests, under the store's lock.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use modelfiles::{Digest, Name};

use super::models::{LEVELS, place};
use super::{Store, Stored, root};
use crate::error::{Error, Result};
use crate::manifest::Manifest;

impl Store {
    /// Makes a manifest visible; every blob it names must be there.
    pub fn commit(&self, name: &Name, manifest: &Manifest) -> Result<Stored> {
        let bytes = manifest.to_bytes();
        let bytes =
            bytes.map_err(|error| Error::Corrupt(format!("manifest of '{name}': {error}")))?;
        self.commit_bytes(name, &bytes)
    }

    /// Makes a manifest that somebody else wrote visible, byte for byte: they have its digest.
    pub fn commit_bytes(&self, name: &Name, bytes: &[u8]) -> Result<Stored> {
        let manifest = Manifest::parse(bytes)
            .map_err(|error| Error::Corrupt(format!("manifest of '{name}': {error}")))?;
        let _lock = self.lock()?;
        for layer in manifest.blobs() {
            self.check(layer)?;
        }
        let name = self.existing(name)?;
        self.write_manifest(&name, bytes)?;
        self.read(&name)
    }

    /// Gives a model a second name; a model that had that name before is replaced.
    pub fn copy(&self, from: &Name, to: &Name) -> Result<()> {
        let _lock = self.lock()?;
        let (from, to) = (self.existing(from)?, self.existing(to)?);
        let (bytes, _) = self.manifest_bytes(&from)?;
        if from.same(&to) {
            return Ok(());
        }
        let before = self.read_own(&to).ok();
        self.write_manifest(&to, &bytes)?;
        before.map_or(Ok(()), |before| self.sweep(&before.manifest))
    }

    /// Removes a model, and the blobs that no other model needs.
    pub fn remove(&self, name: &Name) -> Result<()> {
        let _lock = self.lock()?;
        let name = self.existing(name)?;
        let model = match self.read_own(&name) {
            // A damaged manifest can be removed too; what it meant is unknown, so its blobs stay.
            Err(Error::Corrupt(_)) => None,
            Err(Error::NotFound(_)) if !matches!(self.read(&name), Err(Error::NotFound(_))) => {
                return Err(Error::Shared(name));
            }
            other => Some(other?),
        };
        self.remove_manifest(&name).map_err(|cause| {
            Error::written(self.root(), &self.own.path_of(&place(&name)), cause)
        })?;
        model.map_or(Ok(()), |model| self.sweep(&model.manifest))
    }

    /// Removes those blobs of a manifest that is gone which no model needs.
    pub fn release(&self, manifest: &Manifest) -> Result<()> {
        let _lock = self.lock()?;
        self.sweep(manifest)
    }

    fn sweep(&self, manifest: &Manifest) -> Result<()> {
        let Some(used) = self.referenced()? else { return Ok(()) };
        for layer in manifest.blobs().filter(|layer| !used.contains(&layer.digest)) {
            self.discard(&layer.digest)?;
        }
        Ok(())
    }

    /// Returns every digest that a manifest of the own folder names or somebody holds, or `None` when a manifest cannot
    /// be read.
    pub(super) fn referenced(&self) -> Result<Option<HashSet<Digest>>> {
        let Some(mut used) = self.pinned() else {
            tracing::warn!("no blob is removed while somebody's pin cannot be read");
            return Ok(None);
        };
        let (names, is_complete) = self.own_names()?;
        if !is_complete {
            tracing::warn!("no blob is removed while manifests are passed over");
            return Ok(None);
        }
        for name in names {
            match self.read_own(&name) {
                Ok(model) => used.extend(model.manifest.blobs().map(|layer| layer.digest)),
                Err(Error::NotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(%name, %error, "no blob is removed while a manifest is unreadable");
                    return Ok(None);
                }
            }
        }
        Ok(Some(used))
    }

    fn write_manifest(&self, name: &Name, bytes: &[u8]) -> Result<()> {
        let place = place(name);
        let write = || {
            let aside = self.own.make_folders(&["staging"])?;
            let folders = self.own.make_folders(&place[..LEVELS])?;
            let (Some(aside), Some(folder)) = (aside.last(), folders.last()) else { return Ok(()) };
            root::put(aside, folder, name.tag(), bytes)?;
            sync(&folders)
        };
        write().map_err(|cause| Error::written(self.root(), &self.own.path_of(&place), cause))
    }

    /// Removes a manifest, and the folders above it that are empty then.
    fn remove_manifest(&self, name: &Name) -> io::Result<()> {
        let place = place(name);
        let folders = self.own.folders(&place[..LEVELS])?;
        let Some(folder) = folders.last() else { return Ok(()) };
        root::remove(folder, name.tag())?;
        // After a power cut, too, the manifest must be gone before its blobs.
        sync(&folders)?;
        for (folder, part) in folders.iter().take(LEVELS).zip(&place).skip(1).rev() {
            if root::remove_folder(folder, part).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the store's lock. Who holds it only renames and unlinks, so the wait is short.
    pub(super) fn lock(&self) -> Result<File> {
        const NAME: &str = "vecuna.lock";
        let lock = || {
            let file = self.own.file_to_write(NAME)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|cause| Error::written(self.root(), &self.root().join(NAME), cause))
    }
}

/// Makes a manifest's coming or going survive a power cut, and the folders above it.
fn sync(folders: &[OwnedFd]) -> io::Result<()> {
    folders.iter().skip(1).rev().try_for_each(|folder| Ok(rustix::fs::fsync(folder)?))
}
