//! A hub on loopback that can be told to misbehave.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, LOCATION, RANGE, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use registry::digest_of;
use serde_json::{Value, json};

/// What the hub does wrong with one file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trick {
    Nothing,
    /// Sends the client to another host.
    Redirect,
    /// Cuts the first transfer in the middle.
    Cut,
    /// Cuts the first transfer, and then sends the whole file whatever range is asked for.
    CutThenIgnoreRange,
    /// Cuts the first transfer, and then refuses every range.
    CutThenRefuseRange,
    /// Ends the first transfer early, as if it were complete.
    Short,
    /// Sends half of the first transfer, and then nothing.
    Stall,
    /// Cuts every transfer before its first byte.
    Empty,
    /// Answers every request with a page and this status.
    Page(u16),
    /// Lists the file, but gives it to members only.
    Gated,
    /// Sends other bytes of the same length.
    Wrong,
    /// Sends more than it announced.
    Long,
    /// Takes a while between two pieces.
    Slow,
    /// Cuts the first transfer, and calls the file another version afterwards.
    CutThenRetag,
    /// Calls the file another version from its second part on.
    Retag,
    /// Says with every part that the file has another size.
    OtherTotal,
    /// Asks the first time to come back in a second.
    Later,
    /// Sends the client to an address that it should not ask.
    RedirectTo(&'static str),
    /// Sends a few bytes now and then.
    Crawl,
}

/// One request that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) host: String,
}

#[derive(Clone, Default)]
pub(crate) struct Files(pub(crate) BTreeMap<String, (Bytes, Option<Trick>)>);

impl Files {
    pub(crate) fn with(mut self, path: &str, bytes: impl Into<Bytes>) -> Self {
        self.0.insert(path.to_owned(), (bytes.into(), None));
        self
    }

    pub(crate) fn trick(mut self, path: &str, trick: Trick) -> Self {
        if let Some(file) = self.0.get_mut(path) {
            file.1 = Some(trick);
        }
        self
    }
}

/// How the hub answers questions about the repository.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Listing {
    Full,
    /// Sizes and digests are in the file tree only.
    InTree,
    /// Neither sizes nor digests anywhere.
    Bare,
    /// This status, and this `X-Error-Code`.
    Error(u16, &'static str),
    /// No answer at all.
    Silent,
}

pub(crate) struct Hub {
    pub(crate) endpoint: String,
    /// What the revision stands for; other files are another commit.
    pub(crate) commit: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

struct Inner {
    files: Files,
    commit: String,
    listing: Listing,
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    begun: Mutex<HashSet<String>>,
}

impl Hub {
    pub(crate) async fn start(files: Files, listing: Listing) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let begun = Mutex::default();
        let digests =
            files.0.iter().map(|(path, (bytes, _))| path.clone() + &digest_of(bytes).hex());
        let commit = digest_of(digests.collect::<String>().as_bytes()).hex()[..40].to_owned();
        let inner = Arc::new(Inner {
            files,
            commit: commit.clone(),
            listing,
            port,
            seen: seen.clone(),
            begun,
        });
        let router = Router::new().fallback(answer).with_state(inner);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint: format!("http://127.0.0.1:{port}/mirror"), commit, seen }
    }

    /// Returns the requests for a file.
    pub(crate) fn seen(&self, name: &str) -> Vec<Seen> {
        let seen = self.seen.lock().expect("no panic while locked");
        seen.iter().filter(|seen| seen.path.ends_with(name)).cloned().collect()
    }
}

async fn answer(State(hub): State<Arc<Inner>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = Seen {
        path: path.clone(),
        range: text(RANGE),
        token: text(AUTHORIZATION),
        host: text(HOST).unwrap_or_default(),
    };
    hub.seen.lock().expect("no panic while locked").push(seen);
    let resolve = format!("/mirror/o/r/resolve/{}/", hub.commit);
    if let Some(file) = path.strip_prefix(&resolve).or_else(|| path.strip_prefix("/content/")) {
        return hub.file(file, headers, path.starts_with("/content/"));
    }
    if path.starts_with("/mirror/api/models/o/r/") {
        return hub.describe(&path).await;
    }
    page(404)
}

impl Inner {
    async fn describe(&self, path: &str) -> Response {
        match self.listing {
            Listing::Silent => std::future::pending().await,
            Listing::Error(status, code) => {
                let mut response = page(status);
                response.headers_mut().insert("x-error-code", code.parse().expect("a header"));
                response
            }
            listing => {
                let is_tree = path.contains("/tree/");
                if is_tree && listing == Listing::Bare {
                    return page(404);
                }
                let describe = |(path, (bytes, _)): (&String, &(Bytes, _))| {
                    entry(path, bytes, listing, is_tree)
                };
                let files: Vec<_> = self.files.0.iter().map(describe).collect();
                let info = json!({"id": "o/r", "sha": self.commit, "siblings": files});
                Response::new(Body::from(if is_tree { json!(files) } else { info }.to_string()))
            }
        }
    }

    fn file(&self, name: &str, headers: &HeaderMap, is_content: bool) -> Response {
        let Some((bytes, trick)) = self.files.0.get(name) else { return page(404) };
        let trick = trick.unwrap_or(Trick::Nothing);
        if trick == Trick::Redirect && !is_content {
            let target = format!("http://localhost:{}/content/{name}", self.port);
            return Response::builder()
                .status(302)
                .header(LOCATION, target)
                .body(Body::empty())
                .expect("a response");
        }
        if let Trick::Page(status) = trick {
            return page(status);
        }
        if let Trick::RedirectTo(target) = trick {
            let mut response = page(302);
            response.headers_mut().insert(LOCATION, HeaderValue::from_static(target));
            return response;
        }
        if trick == Trick::Gated {
            let mut response = page(403);
            response.headers_mut().insert("x-error-code", HeaderValue::from_static("GatedRepo"));
            return response;
        }
        let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
        let parts = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let range = parts.and_then(|(start, end)| {
            let end = end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
            Some(start.parse().ok()?..end)
        });
        let range = range.filter(|_| trick != Trick::CutThenIgnoreRange);
        let is_outside = |range: &Range<usize>| range.start >= range.end;
        let refuses = trick == Trick::CutThenRefuseRange;
        if range.as_ref().is_some_and(|range| is_outside(range) || refuses) {
            return page(416);
        }
        let is_first = self.begun.lock().expect("no panic while locked").insert(name.to_owned());
        if trick == Trick::Later && is_first {
            let mut response = page(503);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        }
        send(bytes, range.as_ref(), trick, is_first)
    }
}

/// Describes one file as the revision API or the tree API does.
fn entry(path: &str, bytes: &Bytes, listing: Listing, is_tree: bool) -> Value {
    let (size, digest) = (bytes.len(), digest_of(bytes).hex());
    let is_large = size > 1000;
    match (listing, is_tree) {
        (Listing::InTree, true) if is_large => {
            json!({"type": "file", "path": path, "size": size, "lfs": {"oid": digest, "size": size}})
        }
        (Listing::InTree, true) => json!({"type": "file", "path": path, "size": size}),
        (Listing::Full, _) if is_large => {
            json!({"rfilename": path, "size": size, "lfs": {"sha256": digest, "size": size}})
        }
        (Listing::Full, _) => json!({"rfilename": path, "size": size, "blobId": "x"}),
        _ => json!({"rfilename": path}),
    }
}

fn send(bytes: &Bytes, range: Option<&Range<usize>>, trick: Trick, is_first: bool) -> Response {
    let rest = bytes.slice(range.cloned().unwrap_or(0..bytes.len()));
    let half = rest.slice(..rest.len() / 2);
    let mut response = Response::builder();
    if let Some(Range { start, end }) = range {
        let total = bytes.len() + usize::from(trick == Trick::OtherTotal);
        let range = format!("bytes {start}-{}/{total}", end - 1);
        response = response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range);
    }
    if matches!(trick, Trick::CutThenRetag | Trick::Retag) {
        response = response.header(ETAG, if is_first { "\"one\"" } else { "\"two\"" });
    }
    if !matches!(trick, Trick::Short | Trick::Long) {
        response = response.header(CONTENT_LENGTH, rest.len());
    }
    let cut = || Err(io::Error::other("cut"));
    let body = match trick {
        Trick::Cut
        | Trick::CutThenIgnoreRange
        | Trick::CutThenRefuseRange
        | Trick::CutThenRetag
            if is_first =>
        {
            pieces(vec![Ok(half), cut()])
        }
        Trick::Crawl => slowly(&rest.slice(..rest.len().min(200)), 200),
        Trick::Short if is_first => pieces(vec![Ok(half)]),
        Trick::Stall if is_first => {
            Body::from_stream(stream::iter([Ok::<_, Infallible>(half)]).chain(stream::pending()))
        }
        Trick::Empty => pieces(vec![cut()]),
        Trick::Wrong => Body::from(vec![0; rest.len()]),
        Trick::Long => pieces(vec![Ok(rest.clone()), Ok(rest)]),
        Trick::Slow => slowly(&rest, 20),
        _ => Body::from(rest),
    };
    response.body(body).expect("a response")
}

fn pieces(pieces: Vec<io::Result<Bytes>>) -> Body {
    // A pause lets the bytes before a cut reach the client.
    Body::from_stream(stream::iter(pieces).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        piece
    }))
}

/// Sends a file in pieces, 50 ms apart.
fn slowly(bytes: &Bytes, pieces: usize) -> Body {
    let pieces: Vec<Bytes> =
        bytes.chunks(bytes.len().div_ceil(pieces)).map(Bytes::copy_from_slice).collect();
    Body::from_stream(stream::iter(pieces).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(piece)
    }))
}

fn page(status: u16) -> Response {
    Response::builder().status(status).body(Body::from("<html>a page</html>")).expect("a response")
}
