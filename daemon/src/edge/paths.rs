//! Where does a client find the route it almost named?

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode, Uri};

/// Returns where a path with empty, `.` or `..` segments leads, if it has any.
pub(super) fn cleaned(method: &Method, uri: &Uri) -> Option<String> {
    let path = uri.path();
    if method == Method::CONNECT || !path.starts_with('/') {
        return None;
    }
    let clean = clean(path);
    (clean != path).then(|| with_query(&clean, uri))
}

/// Sends a client to the same path without its last slash, with Gin's choice of status.
pub(super) fn redirect_without_slash(method: &Method, uri: &Uri) -> Response {
    let location = with_query(uri.path().trim_end_matches('/'), uri);
    let permanent = *method == Method::GET;
    let status =
        if permanent { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
    redirect(method, status, &location)
}

/// Sends a client elsewhere, with the small page that Go gives to those who only read.
pub(super) fn redirect(method: &Method, status: StatusCode, location: &str) -> Response {
    let Ok(value) = HeaderValue::from_str(location) else {
        return super::empty(StatusCode::BAD_REQUEST);
    };
    let mut response = super::empty(status);
    if method == Method::GET || method == Method::HEAD {
        let reason = status.canonical_reason().unwrap_or_default();
        let page = format!("<a href=\"{}\">{reason}</a>.\n\n", escaped(location));
        *response.body_mut() = Body::from(page);
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response.headers_mut().insert(LOCATION, value);
    response
}

/// Resolves empty, `.` and `..` segments; a slash at the end stays.
fn clean(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let slash = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{slash}", segments.join("/"))
}

fn with_query(path: &str, uri: &Uri) -> String {
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// Makes text safe inside a quoted attribute, with Go's choice of entities.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        let table = [
            ("/", "/"),
            ("//", "/"),
            ("//api/tags", "/api/tags"),
            ("/api//tags/", "/api/tags/"),
            ("/api/./tags", "/api/tags"),
            ("/a/../../api/tags", "/api/tags"),
            ("/a/..", "/"),
            ("/...", "/..."),
        ];
        for (path, cleaned) in table {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }
}
