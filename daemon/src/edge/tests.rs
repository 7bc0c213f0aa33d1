//! Are requests admitted, redirected and refused as Ollama does it?

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{Allowed, Origins, ROUTES, guard};

/// What Ollama answered to requests that concern this layer, recorded from a running server.
const RECORDED: &str = include_str!("tests/recorded.jsonl");

/// Returns the edge around handlers that answer as the recorded server did.
fn edge(listens_on_loopback: bool, origins: &[&str]) -> Router {
    const JSON: [(&str, &str); 1] = [("content-type", "application/json; charset=utf-8")];
    let inner = Router::new()
        .route("/api/tags", get(|| async { (JSON, r#"{"models":[]}"#) }))
        .route("/api/version", get(|| async { (JSON, r#"{"version":"0.0.0"}"#) }))
        .route("/api/ps", get(|| async { "" }))
        .route("/api/embed", post(|| async { "" }));
    let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
    let origins = Origins::new(&origins).unwrap();
    let hostname = "box".to_owned();
    guard(inner, ROUTES, Allowed { origins, listens_on_loopback, hostname })
}

/// Sends one request and returns status, headers and body.
async fn send(
    edge: Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("Host", "127.0.0.1:21434");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = edge.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Returns a header, its values joined if it was given more than once.
fn header(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap());
    values.collect::<Vec<_>>().join(" + ")
}

#[tokio::test]
async fn answers_are_those_that_ollama_was_seen_to_give() {
    for line in RECORDED.lines() {
        let pair: serde_json::Value = serde_json::from_str(line).unwrap();
        let texts = |value: &serde_json::Value| -> Vec<(String, String)> {
            let map = value.as_object().into_iter().flatten();
            map.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect()
        };
        let sent = texts(&pair["req"][3]);
        let sent: Vec<(&str, &str)> = sent.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let method = pair["req"][0].as_str().unwrap();
        let path = pair["req"][1].as_str().unwrap();
        let (status, headers, body) = send(edge(true, &[]), method, path, &sent).await;
        assert_eq!(u64::from(status.as_u16()), pair["status"].as_u64().unwrap(), "{line}");
        assert_eq!(body, pair["body"].as_str().unwrap(), "{line}");
        // The connection counts the body later; that the bodies are equal is enough here.
        let counted = |name: &str| name == "Content-Length";
        for (name, value) in texts(&pair["headers"]).into_iter().filter(|(n, _)| !counted(n)) {
            assert_eq!(header(&headers, &name), value, "{name} of {line}");
        }
        for name in ["allow", "vary", "access-control-allow-origin", "location", "content-type"] {
            let expected =
                texts(&pair["headers"]).iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
            assert_eq!(headers.contains_key(name), expected, "{name} of {line}");
        }
    }
}

#[tokio::test]
async fn a_browser_that_asks_first_is_told_what_it_may() {
    let asked = [("Origin", "http://localhost:3000"), ("Access-Control-Request-Method", "POST")];
    let (status, headers, body) = send(edge(true, &[]), "OPTIONS", "/api/embed", &asked).await;
    assert_eq!((status, body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(header(&headers, "access-control-allow-origin"), "http://localhost:3000");
    let methods = header(&headers, "access-control-allow-methods");
    assert_eq!(methods, "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS");
    let allowed = header(&headers, "access-control-allow-headers");
    assert!(allowed.starts_with("Authorization,Content-Type,User-Agent,Accept,X-Requested-With,"));
    assert_eq!(header(&headers, "access-control-max-age"), "43200");
    let vary = "Origin + Access-Control-Request-Method + Access-Control-Request-Headers";
    assert_eq!(header(&headers, "vary"), vary);
}

#[tokio::test]
async fn a_star_lets_every_origin_in() {
    let sent = [("Origin", "https://evil.example")];
    let (status, headers, _) = send(edge(true, &["*"]), "GET", "/api/tags", &sent).await;
    assert_eq!(
        (status, header(&headers, "access-control-allow-origin").as_str()),
        (StatusCode::OK, "*")
    );
    assert!(!headers.contains_key("vary"));
}

#[tokio::test]
async fn the_host_is_checked_on_loopback_only() {
    let sent = [("Host", "evil.example")];
    let (status, ..) = send(edge(true, &[]), "GET", "/api/tags", &sent).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, ..) = send(edge(false, &[]), "GET", "/api/tags", &sent).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn options_without_an_origin_depends_on_the_host() {
    let named = [("Host", "localhost:11434")];
    let (status, ..) = send(edge(true, &[]), "OPTIONS", "/api/embed", &named).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, ..) = send(edge(false, &[]), "OPTIONS", "/api/embed", &named).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn head_is_answered_only_where_it_is_listed() {
    let (status, headers, _) = send(edge(true, &[]), "HEAD", "/api/ps", &[]).await;
    assert_eq!(
        (status, header(&headers, "allow").as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, "GET")
    );
    let (status, headers, body) = send(edge(true, &[]), "HEAD", "/api/tags", &[]).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
    assert_eq!(header(&headers, "content-length"), "13");
}

#[tokio::test]
async fn a_redirect_keeps_the_query_and_is_permanent_for_readers() {
    let (status, headers, body) = send(edge(true, &[]), "GET", "/api/tags/?a=1&b", &[]).await;
    assert_eq!(status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(header(&headers, "location"), "/api/tags?a=1&b");
    assert_eq!(body, "<a href=\"/api/tags?a=1&amp;b\">Moved Permanently</a>.\n\n");
}
