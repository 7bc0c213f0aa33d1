//! How do models come and go? Everything that changes manifests, under the store's lock.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use modelfiles::{Digest, Name};

use super::models::LEVELS;
use super::{Store, Stored, sync_folder};
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
        let before = self.read(&to).ok();
        self.write_manifest(&to, &bytes)?;
        before.map_or(Ok(()), |before| self.sweep(&before.manifest))
    }

    /// Removes a model, and the blobs that no other model needs.
    pub fn remove(&self, name: &Name) -> Result<()> {
        let _lock = self.lock()?;
        let name = self.existing(name)?;
        let model = match self.read(&name) {
            // A damaged manifest can be removed too; what it meant is unknown, so its blobs stay.
            Err(Error::Corrupt(_)) => None,
            other => Some(other?),
        };
        let path = self.manifest_path(&name);
        // After a power cut, too, the manifest must be gone before its blobs.
        let unlink = || fs::remove_file(&path).and_then(|()| self.sync_above(&path));
        unlink().map_err(|cause| self.io(&path, cause))?;
        self.remove_empty_folders(&path);
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
            self.unlink(&self.blob_path(&layer.digest))?;
        }
        Ok(())
    }

    /// Returns every digest that a manifest names or somebody holds, or `None` when a manifest cannot be read.
    pub(super) fn referenced(&self) -> Result<Option<HashSet<Digest>>> {
        let mut used = self.pinned();
        let (names, is_complete) = self.all_names()?;
        if !is_complete {
            tracing::warn!("no blob is removed while a folder of manifests is unreadable");
            return Ok(None);
        }
        for name in names {
            match self.read(&name) {
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
        let path = self.manifest_path(name);
        let folder = path.parent().unwrap_or(&self.root);
        let write = || {
            fs::create_dir_all(self.staging_folder())?;
            let mut file = tempfile::Builder::new()
                .prefix("manifest-")
                .permissions(Permissions::from_mode(0o644))
                .tempfile_in(self.staging_folder())?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            fs::create_dir_all(folder)?;
            file.persist(&path)?;
            self.sync_above(&path)
        };
        write().map_err(|cause| self.io(&path, cause))
    }

    /// Makes a manifest's coming or going survive a power cut, and the folders above it.
    fn sync_above(&self, path: &Path) -> io::Result<()> {
        path.ancestors().skip(1).take(LEVELS).try_for_each(sync_folder)
    }

    /// Removes the folders above a manifest, up to the first that is not empty.
    fn remove_empty_folders(&self, path: &Path) {
        let root = self.manifests();
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != root) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }

    /// Waits for the store's lock. Who holds it only renames and unlinks, so the wait is short.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.root.join("vecuna.lock");
        let lock = || {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|cause| self.io(&path, cause))
    }
}
