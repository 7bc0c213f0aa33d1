//! How is a registry spoken to? One scheme, one login, and a token that is renewed when it has run out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::super::Settings;
use super::super::download::{Access, retry_after, root_cause};
use super::super::http;
use super::challenge::Challenge;
use super::credentials::{self, Login};
use super::token;
use crate::blocking;
use crate::error::{Error, Result};

/// Attempts of a request whose answer says that a later one may do better.
const TRIES: u32 = 5;
/// The longest pause between two attempts, also when the server asks for a longer one.
const PAUSE_LIMIT: Duration = Duration::from_secs(20);
/// How long a registry may take to explain an error.
const EXCUSE_TIME: Duration = Duration::from_secs(10);
/// The longest answer of a token server, and of a registry that explains an error.
const ANSWER_LIMIT_BYTES: u64 = 64 << 10;
/// Pauses (1 s) in which a token is not renewed again.
const RENEWAL: u32 = 4;

/// Characters of an explanation that are shown.
const EXPLANATION: usize = 200;

/// Where Docker's registry answers, whose name leads to a page for people.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// What is done with a repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Pull,
    Push,
}

/// A repository of a registry, and the right to use it.
pub(crate) struct Session {
    pub(super) client: Client,
    pub(super) settings: Settings,
    /// The registry as the user names it.
    pub(super) host: String,
    /// The name of the repository.
    pub(super) repo: String,
    pub(super) origin: Url,
    pub(super) purpose: Purpose,
    grant: Mutex<Grant>,
}

/// What the registry has seen, or will see.
#[derive(Clone, Default)]
struct Grant {
    header: Option<HeaderValue>,
    since: Option<Instant>,
}

impl Session {
    /// Finds out how the registry is spoken to.
    pub(crate) async fn open(
        settings: &Settings,
        host: &str,
        repo: &str,
        purpose: Purpose,
    ) -> Result<Self> {
        let name = if host.eq_ignore_ascii_case(DOCKER.0) { DOCKER.1 } else { host };
        let parse = |scheme: &str| {
            let url = Url::parse(&format!("{scheme}://{name}/"));
            url.map_err(|error| Error::unreachable(host, error.to_string()))
        };
        let mut origin = parse("https")?;
        if http::is_this_machine(&origin) && answers_plainly(&origin, settings.connect).await {
            origin = parse("http")?;
        }
        let mut client = http::client(settings, &origin).await?;
        if origin.scheme() == "https"
            && http::may_be_plain(settings, &origin)
            && !is_encrypted(&client, &origin, settings).await?
        {
            origin = parse("http")?;
            client = http::client(settings, &origin).await?;
        }
        let (settings, host, repo) = (settings.clone(), host.to_owned(), repo.to_owned());
        Ok(Self { client, settings, host, repo, origin, purpose, grant: Mutex::default() })
    }

    /// Returns the address of something in the repository.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.origin.clone();
        url.set_path(&format!("v2/{}/{path}", self.repo));
        url
    }

    /// Returns the address that the registry names for the next step, which must be its own: the login goes there too.
    pub(super) fn location(&self, text: &str) -> Result<Url> {
        let named = self.origin.join(text).ok();
        let is_own = |url: &Url| url.host_str() == self.origin.host_str();
        let named = named.filter(is_own).ok_or_else(|| {
            self.refused(&format!("it wants uploads to go to '{text}', which is not its own"))
        })?;
        // Behind a proxy a registry may not know the scheme and the port that it is reached by.
        let mut url = self.origin.clone();
        url.set_path(named.path());
        url.set_query(named.query());
        Ok(url)
    }

    /// Adds what the registry wants to see; the client drops it again when it is sent to another host.
    pub(super) fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match self.grant().header {
            Some(header) => request.header(AUTHORIZATION, header),
            None => request,
        }
    }

    /// Sends a small request until the answer is final: after a login, and after pauses that the registry needs.
    pub(super) async fn ask(
        &self,
        time: Duration,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response> {
        let (mut pause, mut tries) = (self.settings.pause, 1);
        loop {
            let sent = timeout(time, self.send(&request)).await;
            let wish = match sent.unwrap_or_else(|_late| Err(self.unreachable("no answer"))) {
                Ok(response) if tries < TRIES && is_passing(response.status()) => {
                    retry_after(&response)
                }
                Ok(response) => return Ok(response),
                Err(error) => return Err(error),
            };
            sleep(wish.unwrap_or(pause).min(PAUSE_LIMIT)).await;
            (pause, tries) = (pause * 2, tries + 1);
        }
    }

    /// Sends a request, and once more when the registry wants to know who asks.
    pub(super) async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response> {
        let failed = |error: reqwest::Error| self.unreachable(&root_cause(&error));
        let response = self.authorised(request()).send().await.map_err(failed)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.log_in(response.headers()).await?;
        let response = self.authorised(request()).send().await.map_err(failed)?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(self.denied("access denied")),
            _ => Ok(response),
        }
    }

    /// Returns an error of the registry, in its own words.
    pub(super) async fn failure(&self, what: &str, response: Response) -> Error {
        let status = response.status();
        let body = timeout(EXCUSE_TIME, read(response, ANSWER_LIMIT_BYTES)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let said = explanation(&body).map_or_else(String::new, |said| format!(" ({said})"));
        match status {
            StatusCode::FORBIDDEN => self.denied(&format!("access denied{said}")),
            _ if is_passing(status) => self.unreachable(&format!("{status}{said}")),
            _ => {
                Error::Unusable(format!("registry '{}' refuses {what}: {status}{said}", self.host))
            }
        }
    }

    pub(super) fn unreachable(&self, reason: &str) -> Error {
        Error::unreachable(format!("registry '{}'", self.host), advise(reason))
    }

    pub(super) fn refused(&self, reason: &str) -> Error {
        Error::Unauthorized(format!("registry '{}' is not trusted: {reason}", self.host))
    }

    pub(super) fn denied(&self, reason: &str) -> Error {
        Error::Unauthorized(format!("{reason}, for '{}/{}'", self.host, self.repo))
    }

    /// Says that the registry wants a login and there is none that it could have.
    pub(super) fn nobody(&self, login: &Login) -> Error {
        let host = &self.host;
        let found = match login {
            Login::None(Some(note)) => note.clone(),
            Login::None(None) => format!("'docker login {host}' writes one"),
            Login::Identity(_) | Login::Password { .. } => {
                "a name and a password are needed".to_owned()
            }
        };
        Error::Unauthorized(format!(
            "registry '{host}' wants a login, and none is in the files of docker and podman: {found}"
        ))
    }

    fn grant(&self) -> Grant {
        self.grant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the registry what its answer 401 asks for.
    async fn log_in(&self, headers: &HeaderMap) -> Result<()> {
        let challenge = Challenge::of(headers);
        let challenge = challenge
            .ok_or_else(|| self.denied("it asks for a login in a way that is not known"))?;
        let (files, host, repo) =
            (self.settings.credentials.clone(), self.host.clone(), self.repo.clone());
        let login = blocking(move || Ok(credentials::find(&files, &host, &repo))).await?;
        let header = match (challenge, login) {
            (Challenge::Basic, Login::Password { user, password }) => {
                token::basic(&user, &password)?
            }
            (Challenge::Basic, login) => return Err(self.nobody(&login)),
            (Challenge::Bearer(asked), login) => token::fetch(self, &asked, &login).await?,
        };
        let grant = Grant { header: Some(header), since: Some(Instant::now()) };
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = grant;
        Ok(())
    }
}

impl Access for Session {
    fn prepare(&self, request: RequestBuilder) -> RequestBuilder {
        self.authorised(request)
    }

    fn renew<'a>(&'a self, refusal: &'a Response) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            let since = self.grant().since;
            // Many connections are refused at once, and the first of them has asked for all.
            if since.is_none_or(|since| since.elapsed() > self.settings.pause * RENEWAL) {
                self.log_in(refusal.headers()).await?;
            }
            Ok(true)
        })
    }
}

/// Tells whether a server of this machine answers without encryption. That is what most of them do, and finding it out
/// so takes a millisecond, where a handshake that fails needs all certificates of the machine first.
async fn answers_plainly(origin: &Url, time: Duration) -> bool {
    let (Some(host), Some(port)) = (origin.host_str(), origin.port()) else { return false };
    let ask = async {
        let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        stream.write_all(b"HEAD /v2/ HTTP/1.0\r\n\r\n").await?;
        let mut answer = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut answer).await.map(|_| answer)
    };
    match timeout(time, ask).await {
        // Servers that encrypt say 400 to plain text, some of them in plain text.
        Ok(Ok(answer)) => answer.starts_with(b"HTTP/1.") && !answer.ends_with(b"400"),
        _ => false,
    }
}

/// Tells whether a server that need not encrypt does so.
async fn is_encrypted(client: &Client, origin: &Url, settings: &Settings) -> Result<bool> {
    let mut url = origin.clone();
    url.set_path("v2/");
    match timeout(settings.connect, client.get(url).send()).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) => match root_cause(&error) {
            // Such a server encrypts; spoken to without, it would answer in riddles.
            reason if is_about_certificates(&reason) => Err(Error::unreachable(
                format!("registry '{}'", origin.authority()),
                advise(&reason),
            )),
            _ => Ok(false),
        },
        Err(_late) => Ok(false),
    }
}

fn is_about_certificates(reason: &str) -> bool {
    ["certificate", "UnknownIssuer"].iter().any(|word| reason.contains(word))
}

/// Adds what the user can do.
fn advise(reason: &str) -> String {
    let is_plain = ["corrupt message", "handshake eof"].iter().any(|word| reason.contains(word));
    let advice = match reason {
        _ if is_about_certificates(reason) => {
            "; SSL_CERT_FILE may name a file with the certificate that vouches for it"
        }
        _ if is_plain => {
            "; if it does not encrypt and you trust the network between, use --insecure"
        }
        _ => "",
    };
    format!("{reason}{advice}")
}

/// Tells whether the same request may be answered otherwise a little later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}

/// Returns the body of an answer, which has at most so many bytes.
pub(super) async fn read(mut response: Response, limit: u64) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| root_cause(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > limit {
            return Err(format!("it answers with more than {limit} bytes"));
        }
    }
    Ok(body)
}

/// Returns what a registry says of its errors.
fn explanation(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let error = answer["errors"].get(0)?;
    let said = error["message"].as_str().or(error["code"].as_str())?;
    Some(said.chars().filter(|c| !c.is_control()).take(EXPLANATION).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_with_advice() {
        for (reason, advice) in [
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            // What a server says that answers in plain text, and one that hangs up.
            ("received corrupt message of type InvalidContentType", "--insecure"),
            ("tls handshake eof", "--insecure"),
        ] {
            assert!(advise(reason).contains(advice), "{reason}");
        }
        assert_eq!(advise("Connection refused"), "Connection refused");
    }

    #[test]
    fn what_registries_say_of_errors() {
        let said = |text: &str| explanation(text.as_bytes());
        let long = "x".repeat(1000);
        assert_eq!(said(r#"{"errors":[{"code":"A","message":"b\nc"}]}"#).as_deref(), Some("bc"));
        assert_eq!(said(r#"{"errors":[{"code":"A"}]}"#).as_deref(), Some("A"));
        assert_eq!(said(&format!(r#"{{"errors":[{{"message":"{long}"}}]}}"#)).unwrap().len(), 200);
        assert_eq!(said("<html>"), None);
        assert_eq!(said(r#"{"errors":[]}"#), None);
    }
}
