//! Who on this machine has a file already? Hugging Face's cache and other stores; they lend, and never change.

use std::fs;
use std::path::PathBuf;

use modelfiles::Digest;

use super::Settings;
use crate::error::Result;
use crate::store::Store;

/// Brings a blob from another place of this machine into the store; false when none has it.
pub(crate) fn adopt(settings: &Settings, store: &Store, digest: Digest) -> Result<bool> {
    for path in find(settings, &digest) {
        if store.adopt(digest, &path)?.is_some() {
            tracing::debug!(%digest, path = %path.display(), "taken from this machine");
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the files that may be this blob: their names say so, their bytes are not read.
fn find(settings: &Settings, digest: &Digest) -> Vec<PathBuf> {
    let stores = settings.stores.iter().map(|root| root.join("blobs").join(digest.file_name()));
    // The cache names a file by its SHA-256 where the hub tells it, in whatever repository.
    let repositories = settings.hub_cache.iter().filter_map(|cache| fs::read_dir(cache).ok());
    let repositories = repositories.flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let cached = repositories.map(|path| path.join("blobs").join(digest.hex()));
    let is_file =
        |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    stores.chain(cached).filter(is_file).collect()
}
