//! Which files of a local directory make a model?

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::wheel::copy;
use super::{Offered, choose_files, guides};
use crate::error::{Error, Result};
use crate::pull::Meter;
use crate::store::Staging;

/// Folders are searched this deep: `<module>/<part>/<file>`.
const DEPTH: usize = 3;
/// The longest file that decides which others are needed.
const GUIDE_LIMIT_BYTES: u64 = 8 << 20;

/// A directory in Hugging Face or sentence-transformers layout.
pub(super) struct Folder {
    root: PathBuf,
}

/// Chooses the files of a directory.
pub(super) async fn resolve(path: PathBuf) -> Result<(Folder, Vec<Offered>)> {
    crate::blocking(move || {
        let root = path
            .canonicalize()
            .map_err(|error| Error::NotOffered(format!("folder '{}': {error}", path.display())))?;
        let folder = Folder { root };
        let files = folder.choose()?;
        Ok((folder, files))
    })
    .await
}

impl Folder {
    /// Copies one file.
    pub(super) async fn fetch(
        &self,
        file: &Offered,
        staging: Staging,
        meter: &Meter,
    ) -> Result<Staging> {
        let path = self.root.join(&file.path);
        let (name, meter) = (file.path.clone(), meter.clone());
        crate::blocking(move || {
            let mut reader = File::open(path).map_err(|error| unreadable(&name, &error))?;
            copy(&mut reader, &name, staging, meter)
        })
        .await
    }

    fn choose(&self) -> Result<Vec<Offered>> {
        let mut sizes = BTreeMap::new();
        self.walk(&self.root, DEPTH, &mut sizes)?;
        let paths: BTreeSet<String> = sizes.keys().cloned().collect();
        let mut contents = BTreeMap::new();
        for path in guides(&paths) {
            if sizes.get(&path).is_some_and(|size| *size > GUIDE_LIMIT_BYTES) {
                return Err(Error::Unusable(format!(
                    "'{path}' is longer than {GUIDE_LIMIT_BYTES} bytes"
                )));
            }
            let bytes =
                fs::read(self.root.join(&path)).map_err(|error| unreadable(&path, &error))?;
            contents.insert(path, bytes);
        }
        let chosen = choose_files(&paths, &contents)?;
        for path in &chosen {
            self.check_link(path)?;
        }
        let offer = |path: String| Offered { size: sizes.get(&path).copied(), path, digest: None };
        Ok(chosen.into_iter().map(offer).collect())
    }

    /// Refuses a link that leaves the folder: the folder may come from somebody else.
    fn check_link(&self, path: &str) -> Result<()> {
        let target =
            self.root.join(path).canonicalize().map_err(|error| unreadable(path, &error))?;
        if target.starts_with(&self.root) {
            return Ok(());
        }
        Err(Error::Unusable(format!("'{path}' is a link that leaves the folder")))
    }

    fn walk(&self, folder: &Path, depth: usize, sizes: &mut BTreeMap<String, u64>) -> Result<()> {
        let name = folder.display().to_string();
        for entry in fs::read_dir(folder).map_err(|error| unreadable(&name, &error))? {
            let path = entry.map_err(|error| unreadable(&name, &error))?.path();
            let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() && !is_link && depth > 1 {
                self.walk(&path, depth - 1, sizes)?;
            }
            let inside = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            if let Some(inside) = inside.filter(|_| metadata.is_file()) {
                sizes.insert(inside.to_owned(), metadata.len());
            }
        }
        Ok(())
    }
}

fn unreadable(path: &str, error: &io::Error) -> Error {
    Error::Unusable(format!("'{path}' cannot be read: {error}"))
}
