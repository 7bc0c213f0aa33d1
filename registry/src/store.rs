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
//! vecuna.json                                  the format, where one of us made the store
//! ```
//! No path is built from anything but a validated `Name` or `Digest`.

mod adopt;
mod blobs;
mod change;
mod extents;
mod format;
mod journal;
mod leftover;
mod models;
mod pins;
mod prune;
mod pump;
mod root;
mod staging;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelfiles::{Digest, Name};

use crate::error::{Error, Result};
use crate::manifest::Manifest;
pub(crate) use extents::Extents;
pub(crate) use models::is_inside;
use models::place;
pub use models::{GGUF_PATH, Stored};
pub use pins::Pin;
pub use prune::{Amount, Kept, Prune, Pruned};
pub use pump::Pump;
use root::Root;
pub use staging::Staging;

/// A content-addressed store in one directory, perhaps over others that are only read.
#[derive(Clone, Debug)]
pub struct Store {
    /// The folder that is written.
    own: Root,
    /// What is not in it is looked for in these, in their order.
    shared: Arc<[Root]>,
}

impl Store {
    /// Opens the store in a directory, and creates the directory where it is missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self { own: Root::create(&root.into())?, shared: Arc::default() })
    }

    /// Puts the store over others: what they hold can be used, and is never changed.
    pub fn over(self, folders: &[PathBuf]) -> Result<Self> {
        let mut shared: Vec<Root> = Vec::new();
        for folder in folders {
            if !folder.is_dir() {
                tracing::warn!(folder = %folder.display(), "shared store is not there");
            }
            let root = match Root::look(folder) {
                Ok(root) => root,
                Err(error) => {
                    // It must not hide our own models.
                    tracing::warn!(folder = %folder.display(), %error, "shared store is passed over");
                    continue;
                }
            };
            let is_known = |known: &Root| known.path == root.path;
            if !is_known(&self.own) && !shared.iter().any(is_known) {
                shared.push(root);
            }
        }
        Ok(Self { shared: shared.into(), ..self })
    }

    /// Returns the directory of the store.
    pub fn root(&self) -> &Path {
        &self.own.path
    }

    /// Returns where a blob lies, or would lie.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.file_name();
        let holder = self.roots().find(|root| root.size_of(&["blobs", &name]).is_some());
        holder.unwrap_or(&self.own).path_of(&["blobs", &name])
    }

    /// Returns where a manifest lies or would lie, in each of the folders that it is looked for in.
    pub fn manifest_paths(&self, name: &Name) -> impl Iterator<Item = PathBuf> {
        self.roots().map(|root| root.path_of(&place(name)))
    }

    /// Returns the folders in which something is looked for, in their order.
    fn roots(&self) -> impl Iterator<Item = &Root> {
        [&self.own].into_iter().chain(&*self.shared)
    }

    /// Returns where a blob that is written here will lie.
    fn own_blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.file_name())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.staging_folder().join(digest.file_name())
    }

    fn blobs(&self) -> PathBuf {
        self.own.path.join("blobs")
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
        self.own.path.join("staging")
    }

    /// Makes a folder of the store if it is missing; a link is none.
    pub(crate) fn make_folder(&self, name: &str) -> std::io::Result<()> {
        self.own.make_folders(&[name]).map(drop)
    }

    pub(crate) fn io(&self, path: &Path, cause: std::io::Error) -> Error {
        let holder = self.roots().find(|root| path.starts_with(&root.path));
        Error::io(&holder.unwrap_or(&self.own).path, path, cause)
    }
}

/// Makes a rename inside a directory survive a power cut.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
