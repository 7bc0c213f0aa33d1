//! What does the Hugging Face hub have? The only file that names hf-hub.
//!
//! hf-hub sorts the hub's errors. Its downloads are deliberately not used: they neither resume nor check
//! sizes, digests or statuses, and go through a transfer layer with telemetry.
//! Files with an LFS sha256 are checked against it; for small files the hub tells a git sha1 only,
//! which is not checked: their size is, and they come from one pinned commit.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use hf_hub::{HFClient, HFError};
use modelfiles::Digest;
use modelfiles::library::MAIN_REVISION;
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::choose::{GUIDE_LIMIT_BYTES, choose_gguf, is_quant};
use super::download::{Access, Download, Small, authorised, root_cause};
use super::{GGUF_ENDING, Offer, Offered, Settings, Source, choose_files, http};
use crate::error::{Error, Result};
use crate::pull::Meter;
use crate::store::Staging;

/// The longest description of a repository.
const LISTING_LIMIT_BYTES: usize = 32 << 20;

/// The longest answer of a hub that refuses.
const EXCUSE_BYTES: u64 = 1 << 20;

/// A repository at one commit.
pub(super) struct Repository {
    client: Client,
    settings: Settings,
    endpoint: Url,
    repo: String,
    commit: String,
    /// Files that were needed to choose the others.
    guides: BTreeMap<String, Vec<u8>>,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Pinned {
    sha: Option<String>,
}

/// A file of the revision API (`rfilename`) or of the tree API (`path`).
#[derive(Deserialize)]
struct Sibling {
    rfilename: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    oid: Option<String>,
    size: Option<u64>,
}

/// Returns the source in words.
pub(super) fn describe(repo: &str, revision: &str) -> String {
    match revision {
        "main" => format!("hub {repo}"),
        revision => format!("hub {repo} at {revision}"),
    }
}

/// Pins the revision to a commit and chooses the files to fetch; none when that commit is here already.
pub(super) async fn resolve(
    settings: &Settings,
    repo: &str,
    revision: &str,
    current: Option<&str>,
) -> Result<Option<Offer>> {
    if settings.offline {
        return Err(Error::unreachable("the hub", "HF_HUB_OFFLINE is set"));
    }
    let endpoint = Url::parse(&settings.endpoint)
        .map_err(|error| Error::unreachable(&settings.endpoint, error.to_string()))?;
    let client = http::client(settings, &endpoint).await?;
    // A tag such as Q8_0 is not a revision, but a choice among the GGUF files of the newest one.
    let quant = is_quant(revision).then_some(revision);
    let revision = quant.map_or(revision, |_| MAIN_REVISION);
    let mut repository = Repository {
        client,
        settings: settings.clone(),
        endpoint,
        repo: repo.to_owned(),
        commit: revision.to_owned(),
        guides: BTreeMap::new(),
    };
    repository.commit = match repository.commit().await? {
        Some(commit) => commit,
        None => pin(settings, repository.client.clone(), repo, revision).await?,
    };
    if Some(repository.commit.as_str()) == current {
        return Ok(None);
    }
    let files = repository.choose(quant).await?;
    let revision = Some(repository.commit.clone());
    Ok(Some(Offer { revision, ..Offer::of_files(files, repository) }))
}

impl Access for Settings {
    fn prepare(&self, request: RequestBuilder) -> RequestBuilder {
        authorised(request, self)
    }
}

impl Source for Repository {
    fn fetch<'a>(
        &'a self,
        file: &'a Offered,
        staging: Staging,
        meter: &'a mut Meter,
    ) -> BoxFuture<'a, Result<Staging>> {
        Box::pin(self.fetch(file, staging, meter))
    }
}

impl Repository {
    async fn fetch(
        &self,
        file: &Offered,
        mut staging: Staging,
        meter: &mut Meter,
    ) -> Result<Staging> {
        if let Some(bytes) = self.guides.get(&file.path) {
            staging.restart()?;
            staging.write(bytes)?;
            return Ok(staging);
        }
        let what = format!("'{}' of '{}' on the hub", file.path, self.repo);
        let url = self.file_url(&file.path);
        let (client, settings, repo) = (&self.client, &self.settings, &self.repo);
        let download =
            Download { client, settings, url, size: file.size, what, repo, access: settings };
        download.run(staging, meter).await
    }

    /// Asks which commit the revision is; `None` when the hub has none to tell, and hf-hub can find the words for why.
    ///
    /// hf-hub could ask as well, but it reads answers of any length, and all certificates of the machine a second time.
    async fn commit(&self) -> Result<Option<String>> {
        let request =
            authorised(self.client.get(self.url(&["api", "models"], "revision")), &self.settings);
        let what = format!("'{}' on the hub", self.repo);
        let Ok(Ok(response)) = timeout(self.settings.stall, request.send()).await else {
            return Ok(None);
        };
        if !response.status().is_success() {
            let is_short = response.content_length().is_some_and(|length| length < EXCUSE_BYTES);
            let status = response.status().to_string();
            return if is_short { Ok(None) } else { Err(Error::unreachable("the hub", status)) };
        }
        let read = Small::body(response, &what, LISTING_LIMIT_BYTES);
        let late = |_late| Err(Error::unreachable("the hub", "no answer"));
        let bytes = timeout(self.settings.stall, read).await.unwrap_or_else(late)?;
        let pinned: Pinned = parse("the hub", &bytes)?;
        // A mirror that tells no commit is asked for the revision itself.
        Ok(Some(pinned.sha.unwrap_or_else(|| self.commit.clone())))
    }

    async fn choose(&mut self, quant: Option<&str>) -> Result<Vec<Offered>> {
        let offered = self.list().await?;
        let paths: BTreeSet<String> = offered.keys().cloned().collect();
        let repository = &*self;
        let chosen = match quant {
            Some(_) => vec![choose_gguf(&paths, quant)?],
            None => match choose_files(&paths, |path| repository.guide(path)).await {
                Ok(chosen) => {
                    self.guides = chosen.guides;
                    chosen.paths
                }
                Err(Error::Unusable(_))
                    if paths.iter().any(|p| p.to_ascii_lowercase().ends_with(GGUF_ENDING)) =>
                {
                    vec![choose_gguf(&paths, None)?]
                }
                Err(error) => return Err(error),
            },
        };
        Ok(chosen.iter().filter_map(|path| offered.get(path).cloned()).collect())
    }

    async fn guide(&self, path: String) -> Result<Vec<u8>> {
        let what = format!("'{path}' of '{}' on the hub", self.repo);
        self.small(&what, self.file_url(&path), GUIDE_LIMIT_BYTES as usize).await
    }

    async fn list(&self) -> Result<BTreeMap<String, Offered>> {
        let mut url = self.url(&["api", "models"], "revision");
        url.query_pairs_mut().append_pair("blobs", "true");
        let what = format!("the file list of '{}' on the hub", self.repo);
        let bytes = self.small(&what, url, LISTING_LIMIT_BYTES).await?;
        let listing: Listing = parse(&what, &bytes)?;
        let mut siblings = listing.siblings;
        if siblings.iter().all(|sibling| sibling.size.is_none() && sibling.lfs.is_none()) {
            // Some mirrors leave out sizes and digests here, but tell them in the file tree.
            siblings = self.tree().await.unwrap_or(siblings);
        }
        Ok(siblings.into_iter().filter_map(offered).collect())
    }

    async fn tree(&self) -> Result<Vec<Sibling>> {
        let mut url = self.url(&["api", "models"], "tree");
        url.query_pairs_mut().append_pair("recursive", "true");
        let what = format!("the file tree of '{}' on the hub", self.repo);
        parse(&what, &self.small(&what, url, LISTING_LIMIT_BYTES).await?)
    }

    async fn small(&self, what: &str, url: Url, limit: usize) -> Result<Vec<u8>> {
        let request = authorised(self.client.get(url), &self.settings);
        Small { request, what, repo: &self.repo, limit }.fetch(self.settings.stall).await
    }

    fn file_url(&self, path: &str) -> Url {
        let mut url = self.url(&[], "resolve");
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path.split('/'));
        }
        url
    }

    /// Returns `<endpoint>/<prefix>/<repo>/<verb>/<commit>`.
    fn url(&self, prefix: &[&str], verb: &str) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            let path = segments.pop_if_empty().extend(prefix).extend(self.repo.split('/'));
            path.extend([verb, &self.commit]);
        }
        url
    }
}

/// Returns the commit that a revision stands for.
async fn pin(settings: &Settings, client: Client, repo: &str, revision: &str) -> Result<String> {
    let (owner, name) = hf_hub::split_id(repo);
    let hub = HFClient::builder()
        .endpoint(&settings.endpoint)
        .client(client)
        .user_agent(&settings.user_agent)
        // hf-hub looks for a token in the environment unless it has one; this one it cannot send.
        .token(settings.token.as_deref().unwrap_or("\n"))
        .cache_enabled(false)
        .cache_dir("unused")
        .retry_max_attempts(1)
        .build()
        .map_err(|error| Error::unreachable("the hub", root_cause(&error)))?;
    let model = hub.model(owner, name);
    // hf-hub reads an answer of any length; the time limit is its only bound.
    let info = timeout(settings.stall, model.info().revision(revision).send()).await;
    let info = info.map_err(|_late| Error::unreachable("the hub", "no answer"))?;
    let info = info.map_err(|error| translate(settings, repo, revision, &error))?;
    // A mirror that tells no commit is asked for the revision itself.
    Ok(info.sha.unwrap_or_else(|| revision.to_owned()))
}

/// Says in our words why the hub does not give a repository.
fn translate(settings: &Settings, repo: &str, revision: &str, error: &HFError) -> Error {
    let not_found =
        || Error::NotOffered(format!("the hub has no '{repo}' with revision '{revision}'"));
    match error {
        HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } => not_found(),
        HFError::AuthRequired { context, .. } | HFError::Forbidden { context, .. } => {
            match context.error_code.as_deref() {
                Some("GatedRepo") => Error::Gated(repo.to_owned()),
                Some("RepoNotFound" | "RevisionNotFound") => not_found(),
                _ if settings.token.is_none() => Error::Unauthorized(format!(
                    "'{repo}' does not exist on the hub or is private; if it is private, set HF_TOKEN"
                )),
                _ => Error::Unauthorized(format!("the hub refuses HF_TOKEN for '{repo}'")),
            }
        }
        HFError::Http { context, .. } => Error::unreachable("the hub", context.status.to_string()),
        HFError::RateLimited { .. } => {
            Error::unreachable("the hub", "too many requests, try again later")
        }
        error => Error::unreachable("the hub", root_cause(error)),
    }
}

fn offered(sibling: Sibling) -> Option<(String, Offered)> {
    let path = sibling.rfilename.or(sibling.path)?;
    let hex = sibling.lfs.as_ref().and_then(|lfs| lfs.sha256.as_deref().or(lfs.oid.as_deref()));
    let digest = hex.and_then(Digest::from_hex);
    let size = sibling.lfs.and_then(|lfs| lfs.size).or(sibling.size);
    Some((path.clone(), Offered { path, size, digest }))
}

fn parse<T: for<'de> Deserialize<'de>>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::unreachable(
            what,
            format!(
                "it cannot be understood, as if it came from a proxy or another service: {error}"
            ),
        )
    })
}
