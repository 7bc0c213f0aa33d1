//! How do models travel in one file? As an OCI image layout in a tar archive, the same bytes for the same models.
//!
//! ```text
//! oci-layout            the version of the layout
//! index.json            names of models, and digests of their manifests
//! blobs/sha256/<hex>    manifests, configs and layers, each once
//! ```

mod entries;
mod load;
mod pipe;
mod save;

use std::collections::BTreeMap;

use modelfiles::Digest;
use serde::{Deserialize, Serialize};

use crate::error::Error;
pub use pipe::{Inlet, Outlet};
pub use save::Packed;

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256/";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The key under which an index has the name of a model.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Entries of one archive; the largest known model has a few dozen.
const ENTRIES_LIMIT: usize = 10_000;
/// Bytes copied at once.
const BUFFER_BYTES: usize = 128 << 10;

/// The content of `oci-layout`.
#[derive(Serialize, Deserialize)]
struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// The content of `index.json`.
#[derive(Serialize, Deserialize)]
struct Index {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType", default)]
    media_type: String,
    #[serde(default)]
    manifests: Vec<Named>,
}

/// A manifest in an index.
#[derive(Serialize, Deserialize)]
struct Named {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Returns the error for an archive that cannot be used.
fn unusable(reason: impl std::fmt::Display) -> Error {
    Error::Unusable(format!("the archive cannot be used: {reason}"))
}
