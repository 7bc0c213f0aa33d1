//! Where on disk is a blob, and which models are there? The store, laid out as Ollama's.
//!
//! ```text
//! manifests/<host>/<namespace>/<model>/<tag>   the manifest; its rename is the commit point
//! blobs/sha256-<hex>                           never changed after its rename
//! staging/sha256-<hex>                         a download that can be resumed, locked by its writer
//! staging/sha256-<hex>.parts                   which of its bytes are there
//! staging/pin-*                                digests that somebody still needs, locked by him
//! staging/                                     unnamed temporary files
//! vecuna.lock                                  held while manifests change
//! ```
//! No path is built from anything but a validated `Name` or `Digest`.

mod adopt;
mod blobs;
mod change;
mod extents;
mod journal;
mod models;
mod pins;
mod prune;
mod pump;
mod staging;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelfiles::{Digest, Name};

use crate::error::{Error, Result};
use crate::manifest::Manifest;
pub(crate) use extents::Extents;
pub(crate) use models::is_inside;
pub use models::{GGUF_PATH, Stored};
pub use pins::Pin;
pub use pump::Pump;
pub use staging::Staging;

/// A content-addressed store in one directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Path>,
}

impl Store {
    /// Opens the store in a directory, and creates the directory where it is missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let store = Self { root: Arc::from(root.into()) };
        for folder in [store.blobs(), store.manifests(), store.staging_folder()] {
            if let Err(cause) = fs::create_dir_all(&folder)
                // A store that cannot be written can still be read.
                && !store.root.is_dir()
            {
                return Err(Error::Io { path: store.root.to_path_buf(), cause });
            }
        }
        Ok(store)
    }

    /// Returns the directory of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where a blob lies, or would lie.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.file_name())
    }

    /// Returns where a blob that is written here will lie.
    fn own_blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.file_name())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.staging_folder().join(digest.file_name())
    }

    fn manifest_path(&self, name: &Name) -> PathBuf {
        let mut path = self.manifests();
        path.extend(name.parts());
        path
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// Returns a manifest byte for byte, and the name as it is spelled on disk.
    pub(crate) fn manifest_of(&self, name: &Name) -> Result<(Name, Vec<u8>)> {
        let name = self.existing(name)?;
        let (bytes, _) = self.manifest_bytes(&name)?;
        Ok((name, bytes))
    }

    /// Checks that every blob of a manifest is here.
    pub(crate) fn require(&self, manifest: &Manifest) -> Result<()> {
        manifest.blobs().try_for_each(|layer| self.check(layer))
    }

    /// Opens a blob, if it is a regular file.
    pub(crate) fn open_blob_of(&self, digest: &Digest) -> Result<fs::File> {
        let file = blobs::open_plain(fs::OpenOptions::new().read(true), &self.blob_path(digest));
        file.map_err(|_cause| Error::MissingBlob(*digest))
    }

    pub(crate) fn staging_folder(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn io(&self, path: &Path, cause: std::io::Error) -> Error {
        Error::io(&self.root, path, cause)
    }
}

/// Makes a rename inside a directory survive a power cut.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
