//! Which routes are there, and what does a request that misses them meet?

use http::Method;

/// A path and the methods that it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// The methods, `HEAD` only where it is listed.
    pub(crate) methods: &'static [&'static str],
    /// The path as axum writes it: `{x}` is one segment, `{*x}` is all that follow.
    pub(crate) path: &'static str,
}

const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];
const DELETE: &[&str] = &["DELETE"];
const HEAD_GET: &[&str] = &["HEAD", "GET"];
const HEAD_POST: &[&str] = &["HEAD", "POST"];

/// The order in which an answer names the methods of a path.
const ORDER: [&str; 4] = ["HEAD", "GET", "POST", "DELETE"];

/// Every route of the service.
pub(crate) const ROUTES: &[Route] = &[
    Route { methods: HEAD_GET, path: "/" },
    Route { methods: HEAD_GET, path: "/health" },
    Route { methods: HEAD_GET, path: "/api/version" },
    Route { methods: GET, path: "/api/status" },
    Route { methods: HEAD_GET, path: "/api/tags" },
    Route { methods: GET, path: "/api/ps" },
    Route { methods: POST, path: "/api/show" },
    Route { methods: POST, path: "/api/pull" },
    Route { methods: POST, path: "/api/push" },
    Route { methods: DELETE, path: "/api/delete" },
    Route { methods: POST, path: "/api/copy" },
    Route { methods: POST, path: "/api/create" },
    Route { methods: POST, path: "/api/verify" },
    Route { methods: POST, path: "/api/prune" },
    Route { methods: HEAD_POST, path: "/api/blobs/{digest}" },
    Route { methods: POST, path: "/api/save" },
    Route { methods: POST, path: "/api/load" },
    Route { methods: POST, path: "/api/embed" },
    Route { methods: POST, path: "/api/embeddings" },
    Route { methods: POST, path: "/api/rerank" },
    Route { methods: POST, path: "/api/tokenize" },
    Route { methods: POST, path: "/api/detokenize" },
    Route { methods: POST, path: "/api/generate" },
    Route { methods: POST, path: "/api/chat" },
    Route { methods: POST, path: "/v1/embeddings" },
    Route { methods: GET, path: "/v1/models" },
    Route { methods: GET, path: "/v1/models/{*model}" },
];

/// What a method and a path lead to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A handler.
    Handler,
    /// A path that answers these methods only.
    OtherMethods(String),
    /// A path that would be one without its last slash.
    WithoutSlash,
    /// Nothing.
    Nothing,
}

/// Looks up a request in the order in which Gin does it: a redirect goes before other methods.
pub(super) fn find(table: &[Route], method: &Method, path: &str) -> Found {
    if matching(table, path).any(|route| answers(route, method)) {
        return Found::Handler;
    }
    if let Some(shorter) = path.strip_suffix('/').filter(|shorter| !shorter.is_empty())
        && matching(table, shorter).any(|route| answers(route, method))
    {
        return Found::WithoutSlash;
    }
    let routes: Vec<&Route> = matching(table, path).collect();
    let allowed = |name: &&str| routes.iter().any(|route| route.methods.contains(name));
    let methods: Vec<&str> = ORDER.into_iter().filter(allowed).collect();
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods.join(", ")) }
}

fn matching<'a>(table: &'a [Route], path: &'a str) -> impl Iterator<Item = &'a Route> {
    table.iter().filter(move |route| matches(route.path, path))
}

fn answers(route: &Route, method: &Method) -> bool {
    route.methods.contains(&method.as_str())
}

/// Compares a path with a pattern, segment by segment.
fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let found = segments.next();
        if expected.starts_with("{*") {
            return found.is_some_and(|found| !found.is_empty()) && !path.ends_with('/');
        }
        let fits = match found {
            Some(found) if expected.starts_with('{') => !found.is_empty(),
            found => found == Some(expected),
        };
        if !fits {
            return false;
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::{Found, Method, ROUTES, find};

    #[test]
    fn routes_are_found_as_gin_finds_them() {
        let others = |methods: &str| Found::OtherMethods(methods.to_owned());
        let table = [
            ("GET", "/", Found::Handler),
            ("HEAD", "/api/tags", Found::Handler),
            ("HEAD", "/api/ps", others("GET")),
            ("PUT", "/", others("HEAD, GET")),
            ("GET", "/api/blobs/x", others("HEAD, POST")),
            ("GET", "/api/delete", others("DELETE")),
            ("POST", "/api/embed/", Found::WithoutSlash),
            ("GET", "/api/embed/", Found::Nothing),
            ("POST", "/api/tags/", Found::Nothing),
            ("GET", "/API/tags", Found::Nothing),
            ("POST", "/api/blobs/", Found::Nothing),
            ("POST", "/api/blobs/x/y", Found::Nothing),
            ("GET", "/v1/models/a", Found::Handler),
            ("GET", "/v1/models/ns/a", Found::Handler),
            ("GET", "/v1/models/", Found::WithoutSlash),
            ("GET", "/v1/models/a/", Found::WithoutSlash),
            ("GET", "", Found::Nothing),
            ("OPTIONS", "*", Found::Nothing),
        ];
        for (method, path, found) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(find(ROUTES, &method, path), found, "{method} {path}");
        }
    }
}
