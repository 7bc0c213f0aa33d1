//! Which files of a local directory make a model?

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use super::choose::GUIDE_LIMIT_BYTES;
use super::wheel::copy;
use super::{Offer, Offered, Source, choose_files};
use crate::error::{Error, Result};
use crate::pull::{Files, Meter};
use crate::store::Staging;

/// Folders are searched this deep: `<module>/<part>/<file>`.
const DEPTH: usize = 3;

/// A directory in Hugging Face or sentence-transformers layout.
pub(super) struct Folder {
    root: PathBuf,
}

/// Returns the files of a directory that make a model, as a pull would choose them.
pub async fn folder_files(path: &Path) -> Result<Files> {
    let (folder, files) = choose(path.to_owned()).await?;
    let place = |file: Offered| (file.path.clone(), folder.root.join(file.path));
    Ok(files.into_iter().map(place).collect())
}

/// Finds the model in a directory.
pub(super) async fn resolve(path: PathBuf) -> Result<Offer> {
    let (folder, files) = choose(path).await?;
    Ok(Offer::of_files(files, folder))
}

/// Chooses the files of a directory.
async fn choose(path: PathBuf) -> Result<(Folder, Vec<Offered>)> {
    let (folder, sizes) = crate::blocking(move || {
        let root = path
            .canonicalize()
            .map_err(|error| Error::NotOffered(format!("folder '{}': {error}", path.display())))?;
        let (folder, mut sizes) = (Folder { root }, BTreeMap::new());
        folder.walk(&folder.root, DEPTH, &mut sizes)?;
        Ok((folder, sizes))
    })
    .await?;
    let paths: BTreeSet<String> = sizes.keys().cloned().collect();
    let chosen = choose_files(&paths, |path| folder.read(path)).await?.paths;
    crate::blocking(move || {
        chosen.iter().try_for_each(|path| folder.check_link(path))?;
        let offer = |path: String| Offered { size: sizes.get(&path).copied(), path, digest: None };
        Ok((folder, chosen.into_iter().map(offer).collect()))
    })
    .await
}

impl Source for Folder {
    fn fetch<'a>(
        &'a self,
        file: &'a Offered,
        staging: Staging,
        meter: &'a mut Meter,
    ) -> BoxFuture<'a, Result<Staging>> {
        let path = self.root.join(&file.path);
        let (name, meter) = (file.path.clone(), meter.clone());
        Box::pin(crate::blocking(move || {
            let mut reader = File::open(path).map_err(|error| unreadable(&name, &error))?;
            copy(&mut reader, &name, staging, meter)
        }))
    }
}

impl Folder {
    /// Returns the content of a guide.
    fn read(&self, path: String) -> impl Future<Output = Result<Vec<u8>>> + use<> {
        let file = self.root.join(&path);
        crate::blocking(move || {
            let mut bytes = Vec::new();
            let read = |file: File| file.take(GUIDE_LIMIT_BYTES + 1).read_to_end(&mut bytes);
            let size =
                File::open(file).and_then(read).map_err(|error| unreadable(&path, &error))?;
            if size as u64 > GUIDE_LIMIT_BYTES {
                let reason = format!("'{path}' is longer than {GUIDE_LIMIT_BYTES} bytes");
                return Err(Error::Unusable(reason));
            }
            Ok(bytes)
        })
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
