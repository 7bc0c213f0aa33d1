//! What can go wrong in the store or a pull, one variant per decision that a caller can take?

use std::io;
use std::path::{Path, PathBuf};

use modelfiles::{Digest, Name};

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the store or of a pull.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store holds no such model.
    #[error("model '{0}' not found")]
    NotFound(Name),
    /// The model is in a store that is only read.
    #[error("model '{0}' is in the shared store, which is read-only")]
    Shared(Name),
    /// The store cannot be written.
    #[error("the store cannot be written: {}: {cause}", .path.display())]
    ReadOnly {
        /// The file, relative to the store.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// No source is known for this name. The text is the one that Ollama's clients look for.
    #[error("pull model manifest: file does not exist")]
    Unknown(Name),
    /// A source answered, but does not have what was asked for.
    #[error("pull model manifest: file does not exist: {0}")]
    NotOffered(String),
    /// A source could not be reached, or answered with something else than the file.
    #[error("{place} cannot be reached: {reason}")]
    Unreachable {
        /// The source, in words.
        place: String,
        /// What happened.
        reason: String,
    },
    /// A source wants a token, or refused the one it got.
    #[error("unauthorized: {0}")]
    Unauthorized(String),
    /// The repository's licence has to be accepted on the hub first.
    #[error(
        "'{0}' is gated: accept its conditions on the hub and set HF_TOKEN to a token of that account"
    )]
    Gated(String),
    /// Every source of a model failed.
    #[error("pull model manifest: no source could serve it: {}", attempts(.0))]
    AllFailed(Vec<Attempt>),
    /// No program that answers as pip was found.
    #[error(
        "pip was not found; install it, name its command in VECUNA_PIP, or make the hub reachable"
    )]
    NoPip,
    /// Bytes are not what their digest promised. The text is Ollama's.
    #[error("digest mismatch, file must be downloaded again: want {want}, got {got}")]
    DigestMismatch {
        /// The promised digest.
        want: Digest,
        /// The digest of the bytes that came.
        got: Digest,
    },
    /// The source lists a file under another digest than the library of known models does.
    #[error("{place} offers another '{path}' than the known model has")]
    OtherContent {
        /// The source, in words.
        place: String,
        /// The file's path in the repository.
        path: String,
    },
    /// The disk is full; partial files stay for a later attempt.
    #[error("no space left on device{}", needed_text(.needed.as_ref()))]
    NoSpace {
        /// Bytes that are missing, where that is known before writing.
        needed: Option<u64>,
    },
    /// A model is larger than the settings allow.
    #[error("it has {size} bytes, and {limit} may be pulled (VECUNA_PULL_LIMIT)")]
    TooLarge {
        /// Its size, or what came of it.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A manifest names a blob that the store does not hold.
    #[error("blob {0} is missing")]
    MissingBlob(Digest),
    /// Another process has begun to download a blob, and does not go on.
    #[error("blob {0} is downloaded by another process, which stands still")]
    Busy(Digest),
    /// Something in the store cannot be understood.
    #[error("{0}")]
    Corrupt(String),
    /// The files are not a model that can be used.
    #[error("{0}")]
    Unusable(String),
    /// A file operation failed; `path` is relative to the store.
    #[error("{}: {cause}", .path.display())]
    Io {
        /// The file, relative to the store where it lies inside.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The pull ended before it was complete.
    #[error("pull cancelled")]
    Cancelled,
}

/// One source that was tried, and how it failed.
#[derive(Debug)]
pub struct Attempt {
    /// The source, in words.
    pub place: String,
    /// Why it did not serve the model.
    pub error: Error,
}

impl Error {
    /// Returns the error for a file operation, or `NoSpace` when the disk is full.
    pub(crate) fn io(root: &Path, path: &Path, cause: io::Error) -> Self {
        if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::NoSpace { needed: None };
        }
        let path = path.strip_prefix(root).unwrap_or(path).to_owned();
        match cause.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, cause },
            _ => Self::Io { path, cause },
        }
    }

    /// Returns the error for something that had to be written.
    pub(crate) fn written(root: &Path, path: &Path, cause: io::Error) -> Self {
        match Self::io(root, path, cause) {
            Self::Io { path, cause } if cause.kind() == io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, cause }
            }
            error => error,
        }
    }

    /// Returns an `Unreachable` error.
    pub(crate) fn unreachable(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unreachable { place: place.into(), reason: reason.into() }
    }

    /// Tells whether another source may still serve the model.
    pub(crate) fn is_of_source(&self) -> bool {
        matches!(
            self,
            Self::NotOffered(_)
                | Self::Unreachable { .. }
                | Self::Unauthorized(_)
                | Self::Gated(_)
                | Self::NoPip
                | Self::DigestMismatch { .. }
                | Self::OtherContent { .. }
                | Self::Unusable(_)
        )
    }
}

fn attempts(attempts: &[Attempt]) -> String {
    let texts: Vec<String> =
        attempts.iter().map(|attempt| format!("{}: {}", attempt.place, attempt.error)).collect();
    texts.join("; ")
}

fn needed_text(needed: Option<&u64>) -> String {
    needed.map_or_else(String::new, |needed| format!(": {needed} more bytes are needed"))
}
