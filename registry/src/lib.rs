//! Where do model files live, and where do they come from? The content-addressed store and its pulls.
//!
//! The store is synchronous (`std::fs`); asynchronous callers wrap it in `spawn_blocking`. Pulls are
//! asynchronous and need a tokio runtime. Nothing here reads the environment or names a daemon.

mod archive;
mod error;
mod hash;
mod manifest;
mod pull;
mod sources;
mod store;

pub use archive::{Inlet, Outlet, Packed};
pub use error::{Attempt, Error, Result};
pub use hash::{digest_file, digest_of};
pub use manifest::{
    ARTIFACT_TYPE, Layer, MANIFEST_TYPE, Manifest, OCI_MANIFEST_TYPE, annotation, media,
};
pub use pull::{Describe, Files, Progress, Puller, Pulling};
pub use sources::{CONNECTIONS, Line, Options, Settings, folder_files};
pub use store::{Amount, GGUF_PATH, Kept, Pin, Prune, Pruned, Pump, Staging, Store, Stored};

/// Runs a closure on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| Error::Corrupt(format!("blocking task stopped: {error}")))?
}
