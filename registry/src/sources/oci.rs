//! What does a registry have? Ollama's, or any that speaks OCI's protocol.
//!
//! A tag names a manifest, which lists blobs by their digests; the bytes of all of them are checked. Media types
//! stand in `manifest.rs`.

mod challenge;
mod credentials;
mod push;
mod session;
mod token;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use modelfiles::Digest;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::download::Download;
use super::{Content, Offer, Offered, Settings, Source};
use crate::error::{Error, Result};
use crate::hash::digest_of;
use crate::manifest::{MANIFEST_LIMIT_BYTES, MANIFEST_TYPE, Manifest, OCI_MANIFEST_TYPE, media};
use crate::pull::Meter;
use crate::store::{Staging, is_inside};
pub(crate) use push::push;
use session::{Purpose, Session, read};

/// What a tag may lead to. Lists are asked for too, so that they can be refused in clear words.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.index.v1+json";
/// What Ollama's media types begin with.
const OLLAMA: &str = "application/vnd.ollama.image.";
/// Blobs of a model; Ollama's largest have about a thousand.
const MOST_LAYERS: usize = 2000;
/// Bytes of a model; no disk that it could come to is larger.
const MOST_BYTES: u64 = 1 << 42;
/// How long a manifest may take.
const MANIFEST_TIME: Duration = Duration::from_secs(60);
/// Tags that are named when there is none of the wanted name, and the longest list of them.
const TAGS: usize = 20;
const TAGS_LIMIT_BYTES: u64 = 1 << 20;

/// A repository whose blobs are fetched.
struct Repository(Session);

/// Reads the manifest of a tag.
pub(super) async fn resolve(
    settings: &Settings,
    host: &str,
    repo: &str,
    tag: &str,
) -> Result<Offer> {
    let session = Session::open(settings, host, repo, Purpose::Pull).await?;
    let manifest = timeout(MANIFEST_TIME, manifest(&session, tag)).await;
    let (bytes, manifest) =
        manifest.unwrap_or_else(|_late| Err(session.unreachable("no answer in time")))?;
    let revision = Some(digest_of(&bytes).to_string());
    let content = Content::Manifest(bytes, Box::new(manifest));
    Ok(Offer { content, revision, source: Box::new(Repository(session)) })
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
    async fn fetch(&self, file: &Offered, staging: Staging, meter: &mut Meter) -> Result<Staging> {
        let session = &self.0;
        let digest = file.digest.ok_or_else(|| session.unreachable("a blob has no digest"))?;
        let download = Download {
            client: &session.client,
            settings: &session.settings,
            url: session.url(&format!("blobs/{digest}")),
            size: file.size,
            what: format!("blob {} of '{}/{}'", digest.short(), session.host, session.repo),
            repo: &session.repo,
            access: session,
        };
        download.run(staging, meter).await
    }
}

async fn manifest(session: &Session, tag: &str) -> Result<(Vec<u8>, Manifest)> {
    let url = session.url(&format!("manifests/{tag}"));
    let request = || session.client.get(url.clone()).header(ACCEPT, MANIFESTS);
    let response = session.ask(session.settings.stall, request).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(missing(session, tag).await),
        _ => return Err(session.failure("the manifest", response).await),
    }
    let headers = response.headers().clone();
    let bytes = read(response, MANIFEST_LIMIT_BYTES).await;
    let bytes = bytes.map_err(|reason| session.unreachable(&reason))?;
    let wrong = |reason: String| {
        let place = format!("{}/{}:{tag}", session.host, session.repo);
        Error::Unusable(format!("the manifest of '{place}' cannot be used: {reason}"))
    };
    let manifest = understand(&headers, &bytes).map_err(wrong)?;
    Ok((bytes, manifest))
}

/// Says that there is no such tag, and which there are.
async fn missing(session: &Session, tag: &str) -> Error {
    let wanted = format!("{}/{}:{tag}", session.host, session.repo);
    match tags(session).await {
        Some(tags) if tags.is_empty() => Error::NotOffered(wanted),
        Some(tags) => Error::NotOffered(format!("{wanted}; there is {}", tags.join(", "))),
        None => Error::NotOffered(wanted),
    }
}

/// Returns some tags of the repository, if the registry lists them.
async fn tags(session: &Session) -> Option<Vec<String>> {
    let url = session.url("tags/list");
    let response = session.send(|| session.client.get(url.clone())).await.ok()?;
    let body = |response: Response| async { read(response, TAGS_LIMIT_BYTES).await.ok() };
    let body =
        if response.status() == StatusCode::OK { body(response).await? } else { return None };
    let list: Value = serde_json::from_slice(&body).ok()?;
    let is_tag = |tag: &&str| tag.len() <= 128 && !tag.contains(|c: char| c.is_control());
    let tags = list["tags"].as_array()?.iter().filter_map(Value::as_str).filter(is_tag);
    Some(tags.take(TAGS).map(str::to_owned).collect())
}

/// Returns the manifest, if it is one of a model and says nothing that must not be believed.
fn understand(headers: &HeaderMap, bytes: &[u8]) -> Result<Manifest, String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let told = header("docker-content-digest").and_then(|text| text.strip_prefix("sha256:"));
    let got = digest_of(bytes);
    if let Some(told) = told
        && Digest::from_hex(told) != Some(got)
    {
        return Err(format!("its digest is {got}, not sha256:{}", told.escape_debug()));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let kind = value["mediaType"].as_str().or(header(CONTENT_TYPE.as_str())).unwrap_or_default();
    if value.get("manifests").is_some() || kind.contains("index") || kind.contains("list") {
        return Err("it is a list of manifests, not one of a model".to_owned());
    }
    let manifest = Manifest::parse(bytes)?;
    check(&manifest)?;
    Ok(manifest)
}

fn check(manifest: &Manifest) -> Result<(), String> {
    let kind = manifest.media_type.as_str();
    if manifest.schema_version != 2 || !["", MANIFEST_TYPE, OCI_MANIFEST_TYPE].contains(&kind) {
        return Err("its form is not known".to_owned());
    }
    if manifest.layers.len() > MOST_LAYERS {
        return Err(format!("it lists more than {MOST_LAYERS} layers"));
    }
    let is_ours = |kind: &str| kind == media::FILE || kind.starts_with(OLLAMA);
    if !manifest.layers.iter().any(|layer| is_ours(&layer.media_type)) {
        return Err("it lists nothing that is part of a model".to_owned());
    }
    if manifest.size_bytes() > MOST_BYTES {
        return Err(format!("it lists more than {MOST_BYTES} bytes"));
    }
    let (mut sizes, mut names) = (HashMap::new(), HashSet::new());
    for layer in manifest.blobs() {
        if *sizes.entry(layer.digest).or_insert(layer.size) != layer.size {
            return Err(format!("it lists blob {} with two sizes", layer.digest.short()));
        }
        let Some(name) = &layer.name else { continue };
        if !is_inside(name) {
            return Err(format!("the file name '{}' is not allowed", name.escape_debug()));
        }
        if layer.media_type == media::FILE && !names.insert(name) {
            return Err(format!("it lists '{name}' twice"));
        }
    }
    Ok(())
}
