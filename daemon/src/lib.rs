//! What answers on the port: HTTP in, vectors out, and who is in memory.

mod about;
mod api;
mod app;
mod body;
mod catalog;
pub mod config;
mod edge;
mod embedding;
mod error;
mod listing;
mod log;
mod residency;
mod server;
mod stamps;
mod worker;

use std::path::Path;

use modelfiles::{Digest, Known};

pub use config::Config;
pub use error::Error;
pub use server::{local, serve};

/// Says why a known model cannot run in this version, if it cannot.
pub fn unsupported(known: &Known) -> Option<String> {
    let architecture = || format!("the architecture '{}'", known.architecture);
    let missing = known.needs.map(str::to_owned);
    let missing = missing.or_else(|| (!engine::supports(known.architecture)).then(architecture))?;
    Some(format!("model '{}' needs {missing}, which this version does not have", known.name))
}

/// Returns the files of a folder that make a model (path in the model → file), as a pull would choose them.
pub async fn folder_files(path: &Path) -> registry::Result<registry::Files> {
    registry::folder_files(path).await
}

/// Returns the digest and the size of a file.
pub fn digest_file(path: &Path) -> std::io::Result<(Digest, u64)> {
    registry::digest_file(path)
}
