//! How does a model get into a registry? Blobs that are not there, in pieces; the manifest last, byte for byte.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RANGE,
};
use reqwest::{Body, Response, StatusCode, Url};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::session::{Purpose, Session};
use crate::blocking;
use crate::error::{Error, Result};
use crate::manifest::{Layer, MANIFEST_LIMIT_BYTES, Manifest, OCI_MANIFEST_TYPE};
use crate::pull::{Feed, Meter};
use crate::sources::{Line, Settings};
use crate::store::Store;

/// Blobs sent at the same time.
const PARALLEL: usize = 3;
/// Bytes of one request. A piece is held in memory, and is what a broken line costs.
const PIECE: u64 = 16 << 20;
/// The largest piece that a registry may ask for.
const PIECE_LIMIT: u64 = 128 << 20;
/// Bytes handed to the line at once.
const SLICE: usize = 256 << 10;
/// Attempts in a row that bring nothing.
const IDLE_TRIES: u32 = 6;
/// Requests for a blob beyond four for each piece; a registry that takes less is not worth the wait.
const SPARE_TRIES: u64 = 100;
/// The longest pause between two attempts.
const PAUSE_LIMIT: Duration = Duration::from_secs(20);
/// How long a registry may take to put a blob into its place: some copy it for that.
const SETTLE_TIME: Duration = Duration::from_secs(10 * 60);
/// What our own watch over the transfer replaces: it ends requests whose bytes take longer than that.
const NO_STALL: Duration = Duration::from_secs(60 * 60);

/// How large the pieces of an upload must be at least.
const MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// Sends a manifest and its blobs to a repository.
pub(crate) async fn push(
    settings: &Settings,
    store: &Store,
    [host, repo, tag]: [&str; 3],
    bytes: Vec<u8>,
    feed: &Feed,
) -> Result<()> {
    let manifest = Manifest::parse(&bytes).map_err(Error::Corrupt)?;
    let lasting = Settings { stall: NO_STALL, ..settings.clone() };
    let session = Session::open(&lasting, host, repo, Purpose::Push).await?;
    let target = Target { session, store, stall: settings.stall };
    let mut seen = HashSet::new();
    let layers = manifest.blobs().filter(|layer| seen.insert(layer.digest));
    let sends: Vec<_> = layers.map(|layer| target.send(layer, feed)).collect();
    stream::iter(sends).buffer_unordered(PARALLEL).try_collect::<()>().await?;
    feed.status("pushing manifest");
    target.name(tag, &manifest, bytes).await
}

/// The repository, and where the blobs are.
struct Target<'a> {
    session: Session,
    store: &'a Store,
    /// How long a transfer may stand still.
    stall: Duration,
}

/// An upload under way.
struct Upload {
    /// Where its next request goes.
    url: Url,
    /// Bytes that the registry has.
    offset: u64,
    piece: u64,
}

impl Target<'_> {
    async fn send(&self, layer: &Layer, feed: &Feed) -> Result<()> {
        let size = self.store.size_of(&layer.digest).ok_or(Error::MissingBlob(layer.digest))?;
        let status = format!("pushing {}", layer.digest.short());
        let mut meter = feed.meter(&status, Some(layer.digest), Some(size));
        if !self.has(layer).await? {
            self.upload(layer, size, &meter).await?;
        }
        meter.done(size);
        Ok(())
    }

    /// Asks whether the registry has a blob.
    async fn has(&self, layer: &Layer) -> Result<bool> {
        let url = self.session.url(&format!("blobs/{}", layer.digest));
        let response =
            self.session.ask(self.stall, || self.session.client.head(url.clone())).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.session.failure("a blob", response).await),
        }
    }

    /// Sends a blob piece by piece; a piece that broke is sent again from where the registry has it.
    async fn upload(&self, layer: &Layer, size: u64, meter: &Meter) -> Result<()> {
        let mut upload = self.begin().await?;
        let (mut idle, mut best, mut left) = (0, 0, size / PIECE * 4 + SPARE_TRIES);
        while upload.offset < size {
            left = left
                .checked_sub(1)
                .ok_or_else(|| self.session.unreachable("it takes too little"))?;
            let broken = match self.patch(layer, &mut upload, meter).await {
                Ok(()) => None,
                Err(error @ Error::Unreachable { .. }) => Some(error),
                Err(error) => return Err(error),
            };
            // Only what no attempt before has reached is progress: a registry may forget uploads.
            idle = if upload.offset > best { 0 } else { idle + 1 };
            best = best.max(upload.offset);
            let Some(error) = broken else { continue };
            tracing::debug!(digest = %layer.digest, %error, offset = upload.offset, "upload broke");
            if idle >= IDLE_TRIES {
                return Err(error);
            }
            sleep((self.session.settings.pause * 2_u32.pow(idle)).min(PAUSE_LIMIT)).await;
            match self.locate(&mut upload).await {
                // A line that is down for a while is what the attempts are for.
                Ok(true) | Err(Error::Unreachable { .. }) => {}
                Ok(false) => match self.begin().await {
                    Ok(begun) => upload = begun,
                    Err(Error::Unreachable { .. }) => {}
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        self.settle(layer, upload).await
    }

    async fn begin(&self) -> Result<Upload> {
        let url = self.session.url("blobs/uploads/");
        let request = || self.session.client.post(url.clone()).header(CONTENT_LENGTH, 0);
        let response = self.session.ask(self.stall, request).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.session.failure("an upload", response).await);
        }
        let least = number(response.headers(), &MIN_LENGTH).unwrap_or(0);
        let mut upload = Upload { url, offset: 0, piece: PIECE.max(least.min(PIECE_LIMIT)) };
        self.follow(&mut upload, response.headers())?;
        Ok(upload)
    }

    /// Sends the next piece.
    async fn patch(&self, layer: &Layer, upload: &mut Upload, meter: &Meter) -> Result<()> {
        let (store, digest) = (self.store.clone(), layer.digest);
        let (offset, piece) = (upload.offset, upload.piece);
        // Pieces are held in memory, of all pushes no more than there are connections.
        let _connection = self.session.settings.line.connection().await;
        let bytes = blocking(move || store.read_part(&digest, offset, piece)).await?;
        if bytes.is_empty() {
            return Err(Error::Corrupt(format!("blob {digest} is shorter than it was")));
        }
        let bytes = Bytes::from(bytes);
        let length = bytes.len() as u64;
        let moved = Arc::new(Mutex::new(Instant::now()));
        let request = || {
            let request = self.session.client.patch(upload.url.clone());
            let request = request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_RANGE, format!("{offset}-{}", offset + length - 1))
                .header(CONTENT_LENGTH, length);
            let line = &self.session.settings.line;
            request.body(body(bytes.clone(), offset, meter, line, &moved))
        };
        let response = tokio::select! {
            response = self.session.send(request) => response?,
            () = standstill(self.stall, &moved) => {
                return Err(self.session.unreachable("the transfer stood still"));
            }
        };
        if !response.status().is_success() {
            let judged = timeout(self.stall, self.judge(response)).await;
            return Err(judged.unwrap_or_else(|_late| self.session.unreachable("no answer")));
        }
        // A registry may have taken less than was sent.
        let taken = taken(response.headers()).filter(|taken| *taken > offset);
        upload.offset = taken.unwrap_or(offset + length).min(offset + length);
        self.follow(upload, response.headers())
    }

    /// Sorts a refused piece: those that may be taken later are `Unreachable`.
    async fn judge(&self, response: Response) -> Error {
        let status = response.status();
        match self.session.failure("an upload", response).await {
            // It has forgotten the upload, or has another part of it than we think.
            error
                if [StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::NOT_FOUND].contains(&status) =>
            {
                self.session.unreachable(&error.to_string())
            }
            error => error,
        }
    }

    /// Asks how far an upload is; false when a new one is as good.
    async fn locate(&self, upload: &mut Upload) -> Result<bool> {
        let request = || self.session.client.get(upload.url.clone());
        let response = self.session.ask(self.stall, request).await?;
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::OK => {}
            // Where the question itself is not known, only a new upload helps.
            status if status.is_client_error() => return Ok(false),
            _ => return Err(self.session.failure("an upload", response).await),
        }
        // One byte looks like none, and nothing is lost with it.
        upload.offset = taken(response.headers()).unwrap_or(0);
        self.follow(upload, response.headers())?;
        Ok(upload.offset > 0)
    }

    /// Makes an upload a blob.
    async fn settle(&self, layer: &Layer, upload: Upload) -> Result<()> {
        let mut url = upload.url;
        url.query_pairs_mut().append_pair("digest", &layer.digest.to_string());
        let request = || self.session.client.put(url.clone()).header(CONTENT_LENGTH, 0);
        let response = self.session.ask(SETTLE_TIME, request).await;
        let is_lost = match &response {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => response.status() == StatusCode::NOT_FOUND,
            Err(error) => matches!(error, Error::Unreachable { .. }),
        };
        // Where only the first answer was lost there is no upload any more, but a blob.
        if is_lost && self.has(layer).await? {
            return Ok(());
        }
        let response = response?;
        let (store, digest) = (self.store.clone(), layer.digest);
        blocking(move || store.verify(&digest)).await?;
        Err(self.session.failure("an upload", response).await)
    }

    /// Makes the manifest the one of the tag.
    async fn name(&self, tag: &str, manifest: &Manifest, bytes: Vec<u8>) -> Result<()> {
        let url = self.session.url(&format!("manifests/{tag}"));
        let kind = match manifest.media_type.as_str() {
            "" => OCI_MANIFEST_TYPE,
            kind => kind,
        };
        debug_assert!(bytes.len() as u64 <= MANIFEST_LIMIT_BYTES, "the store reads no longer ones");
        let bytes = Bytes::from(bytes);
        let request = || {
            let request = self.session.client.put(url.clone()).header(CONTENT_TYPE, kind);
            request.body(bytes.clone())
        };
        let response = self.session.ask(SETTLE_TIME, request).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(self.session.failure("the manifest", response).await)
    }

    /// Takes over where the next request goes.
    fn follow(&self, upload: &mut Upload, headers: &HeaderMap) -> Result<()> {
        if let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) {
            upload.url = self.session.location(location)?;
        }
        Ok(())
    }
}

/// Returns a body that tells how far it is.
fn body(bytes: Bytes, start: u64, meter: &Meter, line: &Line, moved: &Arc<Mutex<Instant>>) -> Body {
    let slices = (0..bytes.len()).step_by(SLICE);
    let slices = slices.map(move |at| (at, bytes.slice(at..bytes.len().min(at + SLICE))));
    let (mut meter, line, moved) = (meter.clone(), line.clone(), Arc::clone(moved));
    Body::wrap_stream(stream::iter(slices).then(move |(at, slice)| {
        meter.at(start + at as u64);
        let (line, moved) = (line.clone(), Arc::clone(&moved));
        async move {
            line.pay(slice.len()).await;
            *moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            Ok::<_, std::convert::Infallible>(slice)
        }
    }))
}

/// Returns when a transfer has not moved for so long.
async fn standstill(limit: Duration, moved: &Mutex<Instant>) {
    loop {
        let end = *moved.lock().unwrap_or_else(PoisonError::into_inner) + limit;
        if end <= Instant::now() {
            return;
        }
        sleep_until(end).await;
    }
}

/// Returns how many bytes a registry has: `0-9` are ten, but `0-0` is how it says none.
fn taken(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let (_, end) = range.trim_start_matches("bytes=").split_once('-')?;
    let end: u64 = end.trim().parse().ok()?;
    Some(if end == 0 { 0 } else { end.saturating_add(1) })
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn registries_tell_what_they_have() {
        let taken = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(text));
            super::taken(&headers)
        };
        assert_eq!(taken("0-9"), Some(10));
        assert_eq!(taken("bytes=0-9"), Some(10));
        assert_eq!(taken("0-0"), Some(0));
        assert_eq!(taken("x"), None);
        assert_eq!(taken("0-18446744073709551615"), Some(u64::MAX));
        assert_eq!(super::taken(&HeaderMap::new()), None);
    }
}
