//! Which models does the store hold, and which files is one made of?

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use modelfiles::{Digest, Name};
use rustix::fs::FileType;

use super::Store;
use super::root::{self, Root};
use crate::error::{Error, Result};
use crate::hash::digest_of;
use crate::manifest::{Layer, MANIFEST_LIMIT_BYTES, Manifest, media};

/// A manifest lies exactly this many levels below `manifests/`.
pub(super) const LEVELS: usize = 4;
/// The path of a model in one GGUF file, whose layer has no name.
pub const GGUF_PATH: &str = "model.gguf";

/// A model in the store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The name, as it is spelled on disk.
    pub name: Name,
    /// The list of its blobs.
    pub manifest: Manifest,
    /// The digest of the manifest file, which identifies the model.
    pub digest: Digest,
    /// The time of the last change.
    pub modified: SystemTime,
}

impl Store {
    /// Returns every readable model, the newest first.
    pub fn list(&self) -> Result<Vec<Stored>> {
        let mut models: Vec<Stored> =
            self.names()?.iter().filter_map(|name| self.read(name).ok()).collect();
        models.sort_by(|a, b| {
            b.modified.cmp(&a.modified).then_with(|| a.name.parts().cmp(&b.name.parts()))
        });
        Ok(models)
    }

    /// Returns the model of this name, whatever the case of its letters.
    pub fn find(&self, name: &Name) -> Result<Stored> {
        self.read(&self.existing(name)?)
    }

    /// Returns the name with each part spelled as in the models that exist.
    pub fn existing(&self, name: &Name) -> Result<Name> {
        let mut names = Vec::new();
        for root in self.roots() {
            if root.size_of(&place(name)).is_some() {
                return Ok(name.clone());
            }
            let found = self.names_in(root)?;
            if let Some(same) = found.iter().find(|other| other.same(name)) {
                return Ok(same.clone());
            }
            names.extend(found);
        }
        Ok(respell(name, &names))
    }

    /// Returns the name of every manifest file, readable or not.
    pub fn names(&self) -> Result<Vec<Name>> {
        let mut names = self.own_names()?.0;
        if self.shared.is_empty() {
            return Ok(names);
        }
        let folded = |name: &Name| name.full().to_ascii_lowercase();
        let mut known: HashSet<String> = names.iter().map(folded).collect();
        for root in &*self.shared {
            let found = self.names_in(root)?;
            names.extend(found.into_iter().filter(|name| known.insert(folded(name))));
        }
        Ok(names)
    }

    /// Returns the name of every manifest file of the own folder, and whether nothing there was passed over.
    pub(super) fn own_names(&self) -> Result<(Vec<Name>, bool)> {
        self.walk(&self.own)
    }

    fn names_in(&self, root: &Root) -> Result<Vec<Name>> {
        match self.walk(root) {
            // A shared store that cannot be read must not hide our models.
            Err(error) if *root != self.own => {
                tracing::warn!(folder = %root.path.display(), %error, "shared store is passed over");
                Ok(Vec::new())
            }
            walked => Ok(walked?.0),
        }
    }

    fn walk(&self, root: &Root) -> Result<(Vec<Name>, bool)> {
        let mut walk = Walk { parts: Vec::new(), names: Vec::new(), is_complete: true };
        let entered = root.folder(&["manifests"]).and_then(|folder| walk.enter(&folder));
        match entered {
            Err(cause) if !is_missing(&cause) => Err(self.io(&root.path.join("manifests"), cause)),
            _ => Ok((walk.names, walk.is_complete)),
        }
    }

    /// Returns the files of a model in repository layout: path → blob. A model in one GGUF file is [`GGUF_PATH`].
    pub fn files(&self, model: &Stored) -> Result<BTreeMap<String, PathBuf>> {
        let is_file =
            |layer: &&Layer| [media::FILE, media::GGUF].contains(&layer.media_type.as_str());
        let files = self.layer_files(model.manifest.layers.iter().filter(is_file));
        files.map_err(|error| match error {
            // Who removes a blob has removed its model before.
            Error::MissingBlob(_) if self.read(&model.name).is_err() => {
                Error::NotFound(model.name.clone())
            }
            error => error,
        })
    }

    pub(crate) fn layer_files<'a>(
        &self,
        layers: impl Iterator<Item = &'a Layer>,
    ) -> Result<BTreeMap<String, PathBuf>> {
        let mut files = BTreeMap::new();
        for layer in layers {
            let whole = (layer.media_type == media::GGUF).then_some(GGUF_PATH);
            let path = whole.or(layer.name.as_deref()).unwrap_or_default();
            if !is_inside(path) {
                return Err(Error::Corrupt(format!(
                    "file name '{}' is not allowed",
                    path.escape_debug()
                )));
            }
            self.check(layer)?;
            if files.insert(path.to_owned(), self.blob_path(&layer.digest)).is_some() {
                return Err(Error::Corrupt(format!("file '{path}' is listed twice")));
            }
        }
        Ok(files)
    }

    /// Checks that the layer's blob exists and has the size that the manifest tells.
    pub(super) fn check(&self, layer: &Layer) -> Result<()> {
        let size = self.size_of(&layer.digest).ok_or(Error::MissingBlob(layer.digest))?;
        if size == layer.size {
            return Ok(());
        }
        let (digest, want) = (layer.digest, layer.size);
        Err(Error::Corrupt(format!("blob {digest} has {size} bytes, its manifest says {want}")))
    }

    pub(super) fn read(&self, name: &Name) -> Result<Stored> {
        stored(name, self.manifest_bytes(name)?)
    }

    /// Reads a model of the own folder.
    pub(super) fn read_own(&self, name: &Name) -> Result<Stored> {
        stored(name, self.manifest_bytes_in(&self.own, name)?)
    }

    pub(crate) fn manifest_bytes(&self, name: &Name) -> Result<(Vec<u8>, SystemTime)> {
        for root in self.roots() {
            match self.manifest_bytes_in(root, name) {
                Err(Error::NotFound(_)) => {}
                other => return other,
            }
        }
        Err(Error::NotFound(name.clone()))
    }

    fn manifest_bytes_in(&self, root: &Root, name: &Name) -> Result<(Vec<u8>, SystemTime)> {
        let read = || -> io::Result<_> {
            let file = root.file(&place(name))?;
            let mut bytes = Vec::new();
            (&file).take(MANIFEST_LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
            Ok((bytes, file.metadata()?.modified()?))
        };
        read().map_err(|cause| match is_missing(&cause) {
            true => Error::NotFound(name.clone()),
            false => self.io(&root.path_of(&place(name)), cause),
        })
    }
}

/// Returns the names that lead to a manifest.
pub(super) fn place(name: &Name) -> [&str; LEVELS + 1] {
    let [host, namespace, model, tag] = name.parts();
    ["manifests", host, namespace, model, tag]
}

fn stored(name: &Name, (bytes, modified): (Vec<u8>, SystemTime)) -> Result<Stored> {
    let manifest = Manifest::parse(&bytes)
        .map_err(|error| Error::Corrupt(format!("manifest of '{name}' is damaged: {error}")))?;
    Ok(Stored { name: name.clone(), manifest, digest: digest_of(&bytes), modified })
}

/// Tells whether an error says that nothing is there; what lies behind a link is not.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Tells whether a repository path stays inside its repository.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 255
        && !path.contains(|c: char| c == '\\' || c.is_control())
        && !path.ends_with('/')
        && !path.contains("//")
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
        && !path.split('/').any(|part| part == ".")
}

/// Takes over the spelling of each part from any model that has the same part.
fn respell(name: &Name, names: &[Name]) -> Name {
    let mut parts = name.parts();
    for (index, part) in parts.iter_mut().enumerate() {
        let known = names.iter().map(|other| other.parts()[index]);
        let mut same = known.filter(|other| other.eq_ignore_ascii_case(part));
        if let Some(spelled) = same.next() {
            *part = spelled;
        }
    }
    Name::from_parts(parts).unwrap_or_else(|| name.clone())
}

/// A search for manifests.
struct Walk {
    /// The folders from `manifests/` to here.
    parts: Vec<String>,
    names: Vec<Name>,
    is_complete: bool,
}

impl Walk {
    fn enter(&mut self, folder: &OwnedFd) -> io::Result<()> {
        for (part, kind) in root::entries(folder)? {
            self.parts.push(part);
            self.look_at(folder, kind);
            self.parts.pop();
        }
        Ok(())
    }

    fn look_at(&mut self, folder: &OwnedFd, kind: FileType) {
        let is_above = self.parts.len() < LEVELS;
        let entered = match (kind, self.parts.last()) {
            (FileType::Directory, Some(part)) if is_above => {
                root::step(folder, part).and_then(|inner| self.enter(&inner))
            }
            (FileType::RegularFile, _) if !is_above => {
                self.names.extend(name_of(&self.parts));
                Ok(())
            }
            // Ollama follows it, and what it finds there may need blobs of this store.
            (FileType::Symlink, _) => Err(io::Error::other("links are not followed")),
            _ => Ok(()),
        };
        match entered {
            // A model may be removed while the store is listed.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // Somebody else's folder must not hide our models.
                tracing::debug!(place = self.parts.join("/"), %error, "manifests are passed over");
                self.is_complete = false;
            }
            _ => {}
        }
    }
}

fn name_of(parts: &[String]) -> Option<Name> {
    let [host, namespace, model, tag] = parts else { return None };
    Name::from_parts([host, namespace, model, tag])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for path in ["model.safetensors", "1_Pooling/config.json", "a/b/c.txt", "..a", "a b"] {
            assert!(is_inside(path), "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "../a",
            "a//b",
            "a/",
            "./a",
            "a/./b",
            "a\\b",
            "a\0b",
            "a\nb",
        ] {
            assert!(!is_inside(path), "{path:?}");
        }
    }
}
