//! A registry on loopback that can be told to misbehave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HOST};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use registry::digest_of;
use serde_json::json;

/// Larger than any piece of an upload.
const BODY_LIMIT: usize = 32 << 20;
/// `user:pass`.
pub(crate) const BASIC: &str = "Basic dXNlcjpwYXNz";

/// What the registry asks for.
#[derive(Clone, Default, PartialEq)]
pub(crate) enum Auth {
    #[default]
    Open,
    Basic,
    /// A token, from the server of this host, in a form with `{port}`; anybody gets one.
    Token(&'static str),
    /// The same, for the user alone.
    PrivateToken(&'static str),
}

/// What the registry does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trick {
    /// Sends the client to another host for blobs.
    Redirect,
    /// Takes half of the first piece and then fails.
    Half,
    /// Forgets the first upload at its first piece.
    Forget,
    /// Names another host for uploads.
    Elsewhere,
    /// Tells a wrong digest of manifests.
    WrongDigest,
    /// Answers the first request with 503.
    Busy,
    /// Makes the blob, but answers that the upload is not known.
    Twice,
    /// Refuses the token at the first blob.
    Expire,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) login: Option<String>,
    pub(crate) body: usize,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) blobs: BTreeMap<String, Bytes>,
    /// Tag → media type and bytes.
    pub(crate) manifests: BTreeMap<String, (String, Bytes)>,
    pub(crate) seen: Vec<Seen>,
    uploads: BTreeMap<usize, Vec<u8>>,
    tricks: Vec<Trick>,
    auth: Auth,
    port: u16,
}

/// What is answered: a status, headers and a body.
type Answer = (StatusCode, Vec<(&'static str, String)>, Bytes);

pub(crate) struct Registry {
    pub(crate) port: u16,
    inner: Arc<Mutex<Inner>>,
}

impl Registry {
    pub(crate) async fn start(auth: Auth, tricks: &[Trick]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let inner = Inner { auth, port, tricks: tricks.to_vec(), ..Inner::default() };
        let inner = Arc::new(Mutex::new(inner));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, inner }
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while locked")
    }

    /// Returns the name of the model that the registry has.
    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}/team/model", self.port)
    }

    /// Puts a manifest under the tag `latest`.
    pub(crate) fn publish(&self, kind: &str, manifest: impl Into<Bytes>) {
        self.inner().manifests.insert("latest".to_owned(), (kind.to_owned(), manifest.into()));
    }

    /// Puts a blob, and returns its descriptor.
    pub(crate) fn blob(
        &self,
        kind: &str,
        name: &str,
        bytes: impl Into<Bytes>,
    ) -> serde_json::Value {
        let bytes = bytes.into();
        let digest = digest_of(&bytes).to_string();
        let size = bytes.len();
        self.inner().blobs.insert(digest.clone(), bytes);
        let mut layer = json!({"mediaType": kind, "digest": digest, "size": size});
        if !name.is_empty() {
            layer["annotations"] = json!({ "org.opencontainers.image.title": name });
        }
        layer
    }

    /// Returns the requests whose target contains a text.
    pub(crate) fn seen(&self, text: &str) -> Vec<Seen> {
        let inner = self.inner();
        inner.seen.iter().filter(|seen| seen.target.contains(text)).cloned().collect()
    }
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.expect("a body");
    let text = |name| {
        parts.headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok())
    };
    let seen = Seen {
        method: parts.method.clone(),
        target: parts.uri.to_string(),
        host: text(HOST).unwrap_or_default().to_owned(),
        login: text(AUTHORIZATION).map(str::to_owned),
        body: body.len(),
    };
    let kind = text(CONTENT_TYPE).unwrap_or_default().to_owned();
    let start = text(CONTENT_RANGE).and_then(|range| range.split_once('-')?.0.parse().ok());
    let mut inner = inner.lock().expect("no panic while locked");
    inner.seen.push(seen.clone());
    let (status, headers, body) = inner.answer(&seen, &kind, start, body);
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).expect("a response")
}

impl Inner {
    fn answer(&mut self, seen: &Seen, kind: &str, start: Option<usize>, body: Bytes) -> Answer {
        let target = seen.target.clone();
        if let Some(digest) = target.strip_prefix("/content/") {
            return self.read(digest);
        }
        if target.starts_with("/token") {
            return self.token(seen, &body);
        }
        if self.take(Trick::Busy) {
            return empty(503);
        }
        if let Some(challenge) = self.challenge(seen) {
            return (StatusCode::UNAUTHORIZED, vec![("www-authenticate", challenge)], Bytes::new());
        }
        match (&seen.method, target.strip_prefix("/v2/team/model/").unwrap_or("?")) {
            (&Method::GET, "tags/list") => {
                let tags: Vec<&String> = self.manifests.keys().collect();
                (StatusCode::OK, Vec::new(), json!({ "tags": tags }).to_string().into())
            }
            (_, path) if path.starts_with("manifests/") => {
                self.manifest(seen, &path[10..], kind, body)
            }
            (_, path) if path.starts_with("blobs/uploads/") => {
                self.upload(&seen.method, &path["blobs/uploads/".len()..], start, &body)
            }
            (_, path) if path.starts_with("blobs/") => {
                let digest = &path[6..];
                if self.tricks.contains(&Trick::Redirect) {
                    let there = format!("http://localhost:{}/content/{digest}", self.port);
                    return (
                        StatusCode::TEMPORARY_REDIRECT,
                        vec![("location", there)],
                        Bytes::new(),
                    );
                }
                self.read(digest)
            }
            _ => empty(404),
        }
    }

    /// Plays a trick once.
    fn take(&mut self, trick: Trick) -> bool {
        let found = self.tricks.iter().position(|other| *other == trick);
        found.map(|index| self.tricks.remove(index)).is_some()
    }

    fn challenge(&mut self, seen: &Seen) -> Option<String> {
        let scope = "repository:team/model:pull";
        match self.auth.clone() {
            Auth::Open => None,
            Auth::Basic => {
                (seen.login.as_deref() != Some(BASIC)).then(|| "Basic realm=\"r\"".to_owned())
            }
            Auth::Token(realm) | Auth::PrivateToken(realm) => {
                let is_known =
                    seen.login.as_deref().is_some_and(|login| login.starts_with("Bearer t"));
                let realm = realm.replace("{port}", &self.port.to_string());
                let challenge = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"{scope}\"");
                let has_expired = seen.target.contains("/blobs/") && self.take(Trick::Expire);
                (!is_known || has_expired).then_some(challenge)
            }
        }
    }

    fn token(&self, seen: &Seen, body: &Bytes) -> Answer {
        let refresh = String::from_utf8_lossy(body).contains("refresh_token=identity");
        let is_user = seen.login.as_deref() == Some(BASIC) || refresh;
        if matches!(self.auth, Auth::PrivateToken(_)) && !is_user {
            return empty(401);
        }
        let token = json!({ "token": format!("t{}", self.seen.len()) });
        (StatusCode::OK, Vec::new(), token.to_string().into())
    }

    fn manifest(&mut self, seen: &Seen, tag: &str, kind: &str, body: Bytes) -> Answer {
        if seen.method == Method::PUT {
            self.manifests.insert(tag.to_owned(), (kind.to_owned(), body));
            return empty(201);
        }
        let Some((kind, bytes)) = self.manifests.get(tag) else { return empty(404) };
        let told = if self.tricks.contains(&Trick::WrongDigest) {
            digest_of(b"")
        } else {
            digest_of(bytes)
        };
        let headers =
            vec![("content-type", kind.clone()), ("docker-content-digest", told.to_string())];
        (StatusCode::OK, headers, bytes.clone())
    }

    fn read(&self, digest: &str) -> Answer {
        match self.blobs.get(digest) {
            Some(bytes) => (StatusCode::OK, Vec::new(), bytes.clone()),
            None => empty(404),
        }
    }

    fn upload(
        &mut self,
        method: &Method,
        path: &str,
        start: Option<usize>,
        body: &Bytes,
    ) -> Answer {
        if *method == Method::POST {
            let id = self.seen.len();
            self.uploads.insert(id, Vec::new());
            let host =
                if self.tricks.contains(&Trick::Elsewhere) { "localhost" } else { "127.0.0.1" };
            // As behind a proxy: another port.
            let there = format!("http://{host}:1/v2/team/model/blobs/uploads/{id}?state={id}");
            return (StatusCode::ACCEPTED, vec![("location", there)], Bytes::new());
        }
        let (id, query) = path.split_once('?').unwrap_or((path, ""));
        let id: usize = id.parse().expect("an upload");
        assert!(query.starts_with(&format!("state={id}")), "{query}");
        let half = *method == Method::PATCH && self.take(Trick::Half);
        if *method == Method::PATCH && self.take(Trick::Forget) {
            self.uploads.remove(&id);
        }
        let Some(upload) = self.uploads.get_mut(&id) else { return empty(404) };
        if *method == Method::PATCH {
            if start != Some(upload.len()) {
                return empty(416);
            }
            upload.extend_from_slice(&body[..if half { body.len() / 2 } else { body.len() }]);
        }
        let range = vec![("range", format!("0-{}", upload.len().saturating_sub(1)))];
        match *method {
            Method::PATCH if half => empty(500),
            Method::PATCH => (StatusCode::ACCEPTED, range, Bytes::new()),
            Method::GET => (StatusCode::NO_CONTENT, range, Bytes::new()),
            _ => self.settle(id, query),
        }
    }

    fn settle(&mut self, id: usize, query: &str) -> Answer {
        let bytes = Bytes::from(self.uploads.remove(&id).expect("it is there"));
        let digest = digest_of(&bytes).to_string();
        if !query.ends_with(&format!("digest={}", digest.replace(':', "%3A"))) {
            let body = json!({"errors": [{"code": "DIGEST_INVALID", "message": "not the digest"}]});
            return (StatusCode::BAD_REQUEST, Vec::new(), body.to_string().into());
        }
        self.blobs.insert(digest, bytes);
        empty(if self.take(Trick::Twice) { 404 } else { 201 })
    }
}

fn empty(status: u16) -> Answer {
    (StatusCode::from_u16(status).expect("a status"), Vec::new(), Bytes::new())
}
