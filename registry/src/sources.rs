//! Where can a model's files come from? One file per kind of place; this is their table.

mod cache;
mod choose;
pub(crate) mod donors;
mod download;
mod folder;
mod http;
mod hub;
mod oci;
mod pip;
mod store;
mod wheel;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use modelfiles::library::MAIN_REVISION;
use modelfiles::{Digest, Origin};

use crate::error::Result;
use crate::manifest::{Layer, Manifest};
use crate::pull::{Feed, Meter};
use crate::store::{Staging, Store};
pub(crate) use choose::GGUF_ENDING;
use choose::choose_files;
pub use download::Line;
pub use folder::folder_files;
pub(crate) use oci::push;

/// Connections of all transfers together, unless somebody says otherwise.
pub const CONNECTIONS: usize = 8;

/// What the sources need to know about the machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the Hugging Face hub or of a mirror of it.
    pub endpoint: String,
    /// Whether the hub must not be asked.
    pub offline: bool,
    /// The token for the hub.
    pub token: Option<String>,
    /// How this program calls itself to servers.
    pub user_agent: String,
    /// Programs that may answer as pip, tried in turn, each with its first arguments.
    pub pip: Vec<Vec<String>>,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long a source may take to describe a model while another source waits for its turn.
    pub patience: Duration,
    /// How long a transfer may stand still.
    pub stall: Duration,
    /// The first pause between two attempts; it doubles each time.
    pub pause: Duration,
    /// The registry that names without a host mean.
    pub registry: Option<String>,
    /// Hosts that may be spoken to without encryption, `*` for all; those of this machine always may.
    pub insecure: Vec<String>,
    /// A file with further certificates that vouch for servers.
    pub certificates: Option<PathBuf>,
    /// Files in which docker and podman keep the credentials for registries, the first that knows a host counts.
    pub credentials: Vec<PathBuf>,
    /// Bytes that one request asks for at first; more or less later, by the speed of the line.
    pub chunk: u64,
    /// Bytes of the largest model that is pulled.
    pub limit: Option<u64>,
    /// The folder in which Hugging Face's tools keep repositories; only read.
    pub hub_cache: Option<PathBuf>,
    /// Other stores in our layout, such as Ollama's; only read.
    pub stores: Vec<PathBuf>,
    /// Connections and bytes per second of all transfers together.
    pub line: Line,
}

/// What the caller of a single pull or push says beyond the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// The server may be spoken to without encryption.
    pub insecure: bool,
    /// Only tell what would be fetched.
    pub dry_run: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let pip = [&["pip"][..], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"]];
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            offline: false,
            token: None,
            user_agent: concat!("vecuna/", env!("CARGO_PKG_VERSION")).to_owned(),
            pip: pip
                .iter()
                .map(|words| words.iter().map(|&word| word.to_owned()).collect())
                .collect(),
            connect: Duration::from_secs(10),
            patience: Duration::from_secs(6),
            stall: Duration::from_secs(30),
            pause: Duration::from_millis(500),
            registry: None,
            insecure: Vec::new(),
            certificates: None,
            credentials: Vec::new(),
            chunk: 8 << 20,
            limit: None,
            hub_cache: None,
            stores: Vec::new(),
            line: Line::new(CONNECTIONS, None),
        }
    }
}

/// A file that a source offers.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    /// The path in the repository.
    pub(crate) path: String,
    /// The size in bytes, where the source tells it.
    pub(crate) size: Option<u64>,
    /// The digest, where the source tells it.
    pub(crate) digest: Option<Digest>,
}

/// What a source has of one model, ready to be fetched.
pub(crate) struct Offer {
    /// What makes the model.
    pub(crate) content: Content,
    /// What the source has at this time: a commit, or a version.
    pub(crate) revision: Option<String>,
    source: Box<dyn Source>,
}

/// What makes a model.
pub(crate) enum Content {
    /// Files of a repository; the manifest is written here.
    Files(Vec<Offered>),
    /// A manifest that lists its blobs.
    Manifest(Vec<u8>, Box<Manifest>),
}

/// A place that hands out the files of a model. Each has a file of its own, and a `resolve` that finds the model.
pub(crate) trait Source: Send + Sync {
    /// Appends what is missing of a file to the staging, and returns it complete.
    fn fetch<'a>(
        &'a self,
        file: &'a Offered,
        staging: Staging,
        meter: &'a mut Meter,
    ) -> BoxFuture<'a, Result<Staging>>;
}

impl Offer {
    /// Returns the offer of a repository's files.
    fn of_files(files: Vec<Offered>, source: impl Source + 'static) -> Self {
        Self { content: Content::Files(files), revision: None, source: Box::new(source) }
    }

    /// Returns the blobs to bring here.
    pub(crate) fn files(&self) -> Vec<Offered> {
        match &self.content {
            Content::Files(files) => files.clone(),
            Content::Manifest(_, manifest) => blobs(manifest),
        }
    }

    /// Appends what is missing of a file to the staging, and returns it complete.
    pub(crate) async fn fetch(
        &self,
        file: &Offered,
        staging: Staging,
        meter: &mut Meter,
    ) -> Result<Staging> {
        self.source.fetch(file, staging, meter).await
    }
}

/// Returns each blob of a manifest once.
fn blobs(manifest: &Manifest) -> Vec<Offered> {
    let mut seen = HashSet::new();
    let new = manifest.blobs().filter(|layer| seen.insert(layer.digest));
    new.map(Offered::of_layer).collect()
}

impl Offered {
    fn of_layer(layer: &Layer) -> Self {
        let path = layer.name.clone().unwrap_or_default();
        Self { path, size: Some(layer.size), digest: Some(layer.digest) }
    }
}

/// Returns a source in words, for progress and errors.
pub(crate) fn describe(origin: &Origin) -> String {
    match origin {
        Origin::Hub { repo, revision } => hub::describe(repo, revision),
        Origin::Pip { package, version } => format!("pip {package}=={version}"),
        Origin::Folder(path) => format!("folder {path}"),
        Origin::Registry { host, repo, tag } => format!("registry {host}/{repo}:{tag}"),
    }
}

/// Returns the place that a source is, as manifests made here name it.
pub(crate) fn place(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Hub { repo, revision } if revision == MAIN_REVISION => {
            Some(format!("hf.co/{repo}"))
        }
        Origin::Hub { repo, revision } => Some(format!("hf.co/{repo}:{revision}")),
        Origin::Pip { package, .. } => Some(format!("pip:{package}")),
        // A folder says nothing about its version, and a registry's manifest has a digest.
        Origin::Folder(_) | Origin::Registry { .. } => None,
    }
}

/// Asks a source for its files; `None` when what it has is `current`, which is here already.
pub(crate) async fn resolve(
    origin: &Origin,
    settings: &Settings,
    current: Option<&str>,
    store: &Store,
    feed: &Feed,
) -> Result<Option<Offer>> {
    match origin {
        Origin::Pip { version, .. } if Some(version.as_str()) == current => Ok(None),
        Origin::Hub { repo, revision } => {
            let hub = hub::resolve(settings, repo, revision, current);
            cache::or_cached(settings, (repo, revision), current, feed, hub).await
        }
        Origin::Pip { package, version } => {
            pip::resolve(settings, store, package, version, feed).await.map(Some)
        }
        Origin::Folder(path) => folder::resolve(PathBuf::from(path)).await.map(Some),
        Origin::Registry { host, repo, tag } => {
            let registry = oci::resolve(settings, host, repo, tag);
            store::or_stored(settings, [host, repo, tag], feed, registry).await.map(Some)
        }
    }
}
