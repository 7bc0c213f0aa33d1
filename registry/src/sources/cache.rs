//! What does Hugging Face's cache hold of a repository, when the hub does not answer?
//!
//! ```text
//! models--<owner>--<name>/refs/<revision>             the commit
//! models--<owner>--<name>/snapshots/<commit>/<path>   a link to a blob
//! models--<owner>--<name>/blobs/<etag>                a SHA-256 where the hub tells one
//! models--<owner>--<name>/.no_exist/<commit>/<path>   what was looked for in vain
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use modelfiles::Digest;
use modelfiles::library::MAIN_REVISION;
use tokio::time::timeout;

use super::choose::{GUIDE_LIMIT_BYTES, choose_gguf, is_quant};
use super::wheel::copy;
use super::{Offer, Offered, Settings, Source, choose_files};
use crate::error::{Error, Result};
use crate::pull::{Feed, Meter};
use crate::store::{Staging, is_inside};

/// Snapshots are searched this deep: `<module>/<part>/<file>`.
const DEPTH: usize = 3;
/// The longest name of a commit.
const COMMIT_LIMIT_BYTES: u64 = 128;
/// What says that sentence-transformers' modules were looked at, or that all files were fetched.
const SIGNS: [&str; 3] = ["modules.json", ".gitattributes", "README.md"];

/// A repository at one commit, in the cache.
struct Snapshot {
    commit: String,
    /// The precision of the GGUF file that is wanted.
    quant: Option<String>,
    /// Paths in the repository, and the files that they lead to.
    files: BTreeMap<String, PathBuf>,
}

/// Waits for the hub's offer; when the hub is not asked or does not answer, offers what the cache has.
pub(super) async fn or_cached(
    settings: &Settings,
    (repo, revision): (&str, &str),
    current: Option<&str>,
    feed: &Feed,
    hub: impl Future<Output = Result<Option<Offer>>>,
) -> Result<Option<Offer>> {
    let Some(snapshot) = find(settings, repo, revision).await? else { return hub.await };
    // What is here came from the hub and may be newer than what the cache has.
    if current.is_some_and(|current| current != snapshot.commit) {
        return hub.await;
    }
    // Half, so that there is time for the cache before the next source has its turn.
    let asked = timeout(settings.patience / 2, hub).await;
    let error = match asked {
        Ok(Err(error @ Error::Unreachable { .. })) => error,
        Ok(answer) => return answer,
        Err(_late) => Error::unreachable("the hub", "no answer in time"),
    };
    if current.is_some() {
        return Ok(None);
    }
    tracing::info!(repo, commit = snapshot.commit, %error, "the cache is used");
    match offer(snapshot).await {
        Ok(offer) => {
            feed.status(&format!("{error}: using Hugging Face's cache"));
            Ok(Some(offer))
        }
        // What the cache lacks is less worth knowing than why the hub was not asked.
        Err(lack) => {
            tracing::debug!(repo, error = %lack, "the cache has no whole model");
            Err(error)
        }
    }
}

async fn find(settings: &Settings, repo: &str, revision: &str) -> Result<Option<Snapshot>> {
    let Some(cache) = settings.hub_cache.clone() else { return Ok(None) };
    let (repo, revision) = (repo.to_owned(), revision.to_owned());
    crate::blocking(move || Ok(snapshot(&cache, &repo, &revision))).await
}

/// Chooses the files of a snapshot that make the model.
async fn offer(snapshot: Snapshot) -> Result<Offer> {
    let paths: BTreeSet<String> = snapshot.files.keys().cloned().collect();
    let chosen = match snapshot.quant.as_deref() {
        Some(quant) => vec![choose_gguf(&paths, Some(quant))?],
        None => {
            let read = |path| read(snapshot.files.get(&path).cloned());
            choose_files(&paths, read).await?.paths
        }
    };
    let offered = chosen.into_iter().filter_map(|path| {
        let file = snapshot.files.get(&path)?;
        let size = fs::metadata(file).ok()?.len();
        let name = file.file_name().and_then(|name| name.to_str());
        Some(Offered { path, size: Some(size), digest: name.and_then(Digest::from_hex) })
    });
    let offered = offered.collect();
    let revision = Some(snapshot.commit.clone());
    Ok(Offer { revision, ..Offer::of_files(offered, snapshot) })
}

impl Source for Snapshot {
    fn fetch<'a>(
        &'a self,
        file: &'a Offered,
        staging: Staging,
        meter: &'a mut Meter,
    ) -> BoxFuture<'a, Result<Staging>> {
        let path = self.files.get(&file.path).cloned().unwrap_or_default();
        let (name, meter) = (file.path.clone(), meter.clone());
        Box::pin(crate::blocking(move || {
            let mut reader = File::open(path).map_err(|_cause| gone(&name))?;
            copy(&mut reader, &name, staging, meter)
        }))
    }
}

/// Returns the content of a guide.
fn read(path: Option<PathBuf>) -> impl Future<Output = Result<Vec<u8>>> {
    crate::blocking(move || {
        let path = path.unwrap_or_default();
        small(&path, GUIDE_LIMIT_BYTES).ok_or_else(|| gone(&path.display().to_string()))
    })
}

fn gone(path: &str) -> Error {
    Error::NotOffered(format!("'{path}' of Hugging Face's cache"))
}

fn small(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe would be waited for.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    File::open(path).ok()?.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}

/// Finds a snapshot that can be told to be of the whole repository, not of the few files that some program used.
fn snapshot(cache: &Path, repo: &str, revision: &str) -> Option<Snapshot> {
    if repo.contains("--") || !is_inside(repo) || !is_inside(revision) {
        return None;
    }
    let root = cache.join(format!("models--{}", repo.replace('/', "--"))).canonicalize().ok()?;
    // As on the hub, a tag such as Q8_0 is a choice among the GGUF files of the newest commit.
    let quant = is_quant(revision).then(|| revision.to_owned());
    let revision = if quant.is_some() { MAIN_REVISION } else { revision };
    let named = small(&root.join("refs").join(revision), COMMIT_LIMIT_BYTES);
    let commit = named.and_then(|bytes| String::from_utf8(bytes).ok());
    let commit = commit.map_or_else(|| revision.to_owned(), |commit| commit.trim().to_owned());
    if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let mut snapshot = Snapshot { commit, quant, files: BTreeMap::new() };
    let folder = root.join("snapshots").join(&snapshot.commit);
    snapshot.walk(&root, &folder, &folder, DEPTH);
    let absent = root.join(".no_exist").join(&snapshot.commit).join(SIGNS[0]);
    let has_sign = SIGNS.iter().any(|sign| snapshot.files.contains_key(*sign)) || absent.exists();
    let is_whole = has_sign || snapshot.quant.is_some();
    if !is_whole {
        tracing::debug!(repo, "the cache may have a part of the repository only");
    }
    is_whole.then_some(snapshot)
}

impl Snapshot {
    /// Gathers the files of a folder; a link counts only if it leads to a blob of this repository.
    fn walk(&mut self, root: &Path, top: &Path, folder: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() && depth > 1 {
                self.walk(root, top, &path, depth - 1);
            }
            let Ok(file) = path.canonicalize() else { continue };
            let is_blob = file.parent() == Some(&root.join("blobs"));
            let is_own = is_blob || !metadata.is_symlink();
            let inside = path.strip_prefix(top).ok().and_then(Path::to_str);
            if let Some(inside) = inside.filter(|_| is_own && file.is_file()) {
                self.files.insert(inside.to_owned(), file);
            }
        }
    }
}
