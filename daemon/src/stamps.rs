//! Is the manifest that a name means still the one that was read? One stat tells.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use modelfiles::Name;
use registry::Store;

/// The manifest of a name, and the places where another would hide it.
pub(crate) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

/// What tells one manifest file from the one that replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn at(path: &Path) -> Option<Self> {
        let file = std::fs::symlink_metadata(path).ok()?;
        Some(Self {
            place: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

impl Stamps {
    /// Looks at a manifest that is read next: one that is replaced in between has another stamp then.
    pub(crate) fn before_reading(store: &Store, name: &Name) -> Self {
        let mut stamps = Vec::new();
        for path in store.manifest_paths(name) {
            let stamp = Stamp::at(&path);
            stamps.push((path, stamp));
            if stamp.is_some() {
                break;
            }
        }
        Self(stamps)
    }

    /// Says whether the disk still holds the same. Asking for one file's metadata takes about a microsecond.
    pub(crate) fn are_current(&self) -> bool {
        self.0.iter().all(|(path, stamp)| Stamp::at(path) == *stamp)
    }
}
