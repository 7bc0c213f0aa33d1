//! The service behind a socket.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::BoxError;
use tower::util::BoxCloneService;

use super::Service;
use super::body::Body;
use crate::failure::Failure;

/// A host that does not even refuse is not there; a loaded one on another continent answers in time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the service that listens at the URL.
pub(super) fn service(url: &str) -> Result<Service> {
    let base: Uri = url.parse().with_context(|| format!("invalid host '{url}'"))?;
    if base.scheme_str() != Some("http") {
        let failure = Failure::new(format!("cannot speak {}", base.scheme_str().unwrap_or(url)));
        return Err(failure.hint("put a host with http:// in VECUNA_HOST").into());
    }
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    Ok(BoxCloneService::new(tower::service_fn(move |request| {
        send(client.clone(), base.clone(), request)
    })))
}

async fn send(
    client: Client<HttpConnector, Body>,
    base: Uri,
    mut request: Request<Body>,
) -> Result<Response<Body>, BoxError> {
    *request.uri_mut() = absolute(&base, request.uri())?;
    let response = client.request(request).await?;
    Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

/// Puts the path behind the base, which may have a path of its own.
fn absolute(base: &Uri, path: &Uri) -> Result<Uri, http::Error> {
    let mut parts = base.clone().into_parts();
    let joined = format!("{}{path}", base.path().trim_end_matches('/'));
    parts.path_and_query = Some(PathAndQuery::try_from(joined)?);
    Ok(Uri::from_parts(parts)?)
}

/// Says whether nobody listens, as opposed to somebody who does not answer well.
pub(super) fn was_refused(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use http::Method;

    use super::super::{Client, body};
    use super::*;

    fn client(url: &str) -> Client {
        Client { service: service(url).expect("url"), url: None }
    }

    /// Answers one connection with the text and hands back what it was sent.
    fn answer_once(text: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("connection");
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).expect("request");
            stream.write_all(text.as_bytes()).expect("answered");
            String::from_utf8_lossy(&bytes[..read]).into_owned()
        });
        (url, server)
    }

    #[tokio::test]
    async fn a_request_travels_over_tcp() {
        let (url, server) =
            answer_once("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"version\":1}");
        let client = client(&format!("{url}/prefix"));
        let value: serde_json::Value = client.get("/api/version").await.expect("answer");
        assert_eq!(value["version"], 1);
        let request = server.join().expect("server");
        assert!(request.starts_with("GET /prefix/api/version HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("host: 127.0.0.1:"), "{request}");
    }

    #[tokio::test]
    async fn nobody_listening_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        drop(listener);
        let error = client(&url).send(Method::HEAD, "/", body::empty()).await;
        assert!(was_refused(&error.err().expect("refused")));
    }

    #[tokio::test]
    async fn other_failures_are_not_taken_for_it() {
        let (url, server) = answer_once("");
        let error = client(&url).send(Method::HEAD, "/", body::empty()).await;
        assert!(!was_refused(&error.err().expect("no answer")));
        drop(server.join());
    }

    #[test]
    fn https_is_refused_with_a_hint() {
        let error = service("https://example.com:443").expect_err("refused");
        assert_eq!(error.to_string(), "cannot speak https");
    }
}
