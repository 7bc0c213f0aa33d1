//! Which requests may come in, and which answers does no handler give?
//!
//! The order is Ollama's: a path that needs cleaning is redirected, the route is looked up, then
//! the origin and the host are checked, and only then does the route, a 404 or a 405 answer.

mod hosts;
mod origins;
mod paths;
mod routes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tower::Layer;

pub(crate) use hosts::name_of_this_machine;
pub(crate) use origins::Origins;
pub(crate) use routes::{ROUTES, Route};

use origins::Verdict;
use routes::Found;

/// Who may call us.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    /// The browser origins that may call.
    pub(crate) origins: Origins,
    /// Whether only this machine can reach us; then the `Host` must name this machine, so that no
    /// web page reaches us through a name of its own (DNS rebinding).
    pub(crate) listens_on_loopback: bool,
    /// The name of this machine, see [`name_of_this_machine`].
    pub(crate) hostname: String,
}

/// Puts the checks and the routing answers in front of `inner`, whose routes `table` lists.
pub(crate) fn guard(inner: Router, table: &'static [Route], allowed: Allowed) -> Router {
    let edge = Edge { table, allowed: Arc::new(allowed) };
    Router::new().fallback_service(from_fn_with_state(edge, admit).layer(inner))
}

#[derive(Clone)]
struct Edge {
    table: &'static [Route],
    allowed: Arc<Allowed>,
}

/// Lets a request through to its handler, or answers it.
async fn admit(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    if let Some(location) = paths::cleaned(request.method(), request.uri()) {
        return paths::redirect(request.method(), StatusCode::TEMPORARY_REDIRECT, &location);
    }
    let found = routes::find(edge.table, request.method(), request.uri().path());
    if let Found::WithoutSlash = found {
        return paths::redirect_without_slash(request.method(), request.uri());
    }
    let host = host_of(&request);
    let mut headers = HeaderMap::new();
    let response = match check(&edge.allowed, &request, &host, &mut headers) {
        Some(status) => empty(status),
        None => answer(&found, request, next).await,
    };
    with_headers(response, &found, headers)
}

/// Checks origin and host; a status is the final answer, `headers` belong to every answer.
fn check(
    allowed: &Allowed,
    request: &Request,
    host: &str,
    headers: &mut HeaderMap,
) -> Option<StatusCode> {
    let origin = request.headers().get(http::header::ORIGIN);
    match allowed.origins.judge(request.method(), origin, host) {
        Verdict::Pass => {}
        Verdict::PassWith(cors) => headers.extend(cors),
        Verdict::Preflight(cors) => {
            headers.extend(cors);
            return Some(StatusCode::NO_CONTENT);
        }
        Verdict::Refuse => return Some(StatusCode::FORBIDDEN),
    }
    if !allowed.listens_on_loopback {
        return None;
    }
    match hosts::judge(host, &allowed.hostname) {
        hosts::Verdict::Address => None,
        hosts::Verdict::Name if request.method() == Method::OPTIONS => Some(StatusCode::NO_CONTENT),
        hosts::Verdict::Name => None,
        hosts::Verdict::Foreign => Some(StatusCode::FORBIDDEN),
    }
}

async fn answer(found: &Found, request: Request, next: Next) -> Response {
    match found {
        Found::Handler => next.run(request).await,
        Found::OtherMethods(_) => plain(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed"),
        Found::Nothing | Found::WithoutSlash => plain(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// Adds what every answer to this request carries.
fn with_headers(mut response: Response, found: &Found, headers: HeaderMap) -> Response {
    response.headers_mut().extend(headers);
    if let Found::OtherMethods(methods) = found
        && let Ok(methods) = HeaderValue::from_str(methods)
    {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// Returns the host that the client asked for, with its port.
fn host_of(request: &Request) -> String {
    let named = request.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    let authority = || request.uri().authority().map(|authority| authority.as_str().into());
    named.or_else(authority).unwrap_or_default().into_owned()
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
