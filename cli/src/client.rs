//! How a command talks to the service: over TCP when one answers, else inside this process.

mod archive;
mod body;
mod events;
mod local;
mod remote;
mod reply;
mod upload;

use anyhow::{Context as _, Result};
use daemon::Config;
use http::{Method, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::BoxError;
use tower::ServiceExt as _;
use tower::util::BoxCloneService;

use self::body::Body;
pub(crate) use self::events::{Event, Events};
use self::reply::Reply;
pub(crate) use self::reply::{is_bad_request, is_not_found};

use crate::failure::Failure;
use crate::output;

/// Whatever answers requests, be it a socket or a router in this process.
type Service = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

/// A way to the service that does not show where the service runs.
pub(crate) struct Client {
    service: Service,
    /// Where the service is, once it has answered there.
    url: Option<String>,
}

impl Client {
    /// Finds the service that the environment names, or starts one in this process.
    pub(crate) async fn connect() -> Result<Self> {
        let config = Config::from_environment()?;
        let url = config.host.connectable().url();
        let client = Self { service: remote::service(&url)?, url: None };
        match client.probe().await {
            Ok(()) => Ok(Self { url: Some(url), ..client }),
            Err(error) if !config.host_was_set && remote::was_refused(&error) => {
                config.warnings.iter().for_each(|text| output::note(&format!("warning: {text}")));
                Ok(Self { service: local::service(config)?, url: None })
            }
            Err(error) => Err(no_connection(&url, error)),
        }
    }

    async fn probe(&self) -> Result<()> {
        let reply = self.send(Method::HEAD, "/", body::empty()).await?;
        anyhow::ensure!(reply.status().is_success(), "it answers with {}", reply.status());
        Ok(())
    }

    /// Sends a JSON request and reads the whole JSON answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T> {
        let bytes = self.order(method, path, request).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("unexpected answer to {path}"))
    }

    /// Sends a JSON request whose answer has no content that matters.
    pub(crate) async fn order(
        &self,
        method: Method,
        path: &str,
        request: &impl Serialize,
    ) -> Result<bytes::Bytes> {
        let reply = self.send(method, path, body::json(request)?).await?;
        reply.checked().await?.bytes().await
    }

    /// Sends a GET request and reads the whole JSON answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let reply = self.send(Method::GET, path, body::empty()).await?;
        let bytes = reply.checked().await?.bytes().await?;
        serde_json::from_slice(&bytes).with_context(|| format!("unexpected answer to {path}"))
    }

    /// Posts a JSON request that is answered by a line of progress at a time.
    pub(crate) async fn events(&self, path: &str, request: &impl Serialize) -> Result<Events> {
        let reply = self.send(Method::POST, path, body::json(request)?).await?;
        let status = reply.status();
        let reply = reply.checked().await.map_err(|error| error.context(status))?;
        Ok(Events::new(reply.into_body()))
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Result<Reply> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("user-agent", concat!("vecuna/", env!("CARGO_PKG_VERSION")))
            .body(body)?;
        let response = self.service.clone().oneshot(request).await;
        let response = response.map_err(|error| anyhow::anyhow!(error));
        Ok(Reply::new(response.map_err(|error| match &self.url {
            Some(url) => no_connection(url, error),
            None => error,
        })?))
    }
}

fn no_connection(url: &str, error: anyhow::Error) -> anyhow::Error {
    let message = format!("could not connect to the vecuna server at {url}");
    let failure = Failure::new(message).hint("run 'vecuna serve' to start it");
    if remote::was_refused(&error) { failure.into() } else { error.context(failure) }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn answering(status: u16, content: &'static str) -> Client {
        let answer = move |request: Request<Body>| async move {
            assert_eq!(request.headers()["content-type"], "application/json");
            let response = Response::builder().status(status).body(body::from(content));
            Ok::<_, Infallible>(response.expect("valid"))
        };
        let service = tower::service_fn(answer).map_err(BoxError::from);
        Client { service: BoxCloneService::new(service), url: None }
    }

    #[tokio::test]
    async fn an_answer_is_parsed() {
        let value: serde_json::Value =
            answering(200, r#"{"models":[]}"#).get("/api/tags").await.expect("answer");
        assert_eq!(value["models"], serde_json::json!([]));
    }

    #[tokio::test]
    async fn a_refusal_is_shown_in_the_words_of_the_server() {
        let client = answering(404, r#"{"error":"model 'x' not found"}"#);
        let result = client.order(Method::DELETE, "/api/delete", &"x").await;
        let error = result.expect_err("refused");
        assert!(is_not_found(&error));
        assert_eq!(format!("{error:#}"), "model 'x' not found");
    }

    #[tokio::test]
    async fn a_refused_stream_shows_its_status() {
        let client = answering(500, r#"{"error":"boom"}"#);
        let error = client.events("/api/pull", &"x").await.err().expect("refused");
        assert_eq!(format!("{error:#}"), "500 Internal Server Error: boom");
    }

    #[tokio::test]
    async fn a_refusal_that_is_not_json_is_shown_whole() {
        let error = answering(502, "bad gateway\n").order(Method::POST, "/x", &1).await;
        assert_eq!(error.expect_err("refused").to_string(), "bad gateway");
        let error = answering(403, "").order(Method::POST, "/x", &1).await;
        assert_eq!(error.expect_err("refused").to_string(), "403 Forbidden");
    }

    #[tokio::test]
    async fn events_come_line_by_line_and_an_error_line_fails() {
        let lines =
            "{\"status\":\"pulling manifest\"}\n{\"error\":\"max retries exceeded: EOF\"}\n";
        let mut events = answering(200, lines).events("/api/pull", &"x").await.expect("events");
        let event = events.next().await.expect("event").expect("one");
        assert_eq!(event.status, "pulling manifest");
        let error = events.next().await.expect_err("error line");
        assert_eq!(error.to_string(), "max retries exceeded: EOF");
    }
}
