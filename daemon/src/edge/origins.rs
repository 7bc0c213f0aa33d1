//! Which web pages may call us?

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

const METHODS: &str = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";
/// What the OpenAI client libraries send beside the usual ones.
const HEADERS: &str = "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,\
    X-Stainless-Arch,X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,\
    X-Stainless-Lang,X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,\
    X-Stainless-Retry-Count,X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout";
/// Twelve hours.
const MAX_AGE_SECONDS: &str = "43200";

/// Names under which a page of this machine is served.
const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "0.0.0.0"];
/// Schemes of applications that show web pages of their own.
const APPLICATIONS: [&str; 5] = ["app", "file", "tauri", "vscode-webview", "vscode-file"];
/// Schemes that an origin without a wildcard may have.
const SCHEMES: [&str; 6] = [
    "http://",
    "https://",
    "chrome-extension://",
    "safari-extension://",
    "moz-extension://",
    "ms-browser-extension://",
];

/// Why a list of origins cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OriginError {
    /// An origin has more than one wildcard.
    #[error("bad origin '{0}': only one * is allowed")]
    TwoWildcards(String),
    /// An origin has neither a wildcard nor a known scheme.
    #[error(
        "bad origin '{0}': origins must contain '*' or begin with http://, https:// or the \
         scheme of a browser extension"
    )]
    NoScheme(String),
}

/// The origins that may call us.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    everyone: bool,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Exact(String),
    Between(String, String),
}

/// What the origin of a request says about it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The request does not come from another site.
    Pass,
    /// The request may pass, and its answer needs these headers.
    PassWith(HeaderMap),
    /// The browser asks first and is answered with these headers.
    Preflight(HeaderMap),
    /// The request must not pass.
    Refuse,
}

impl Origins {
    /// Reads further origins; those of this machine and of applications are always there.
    pub(crate) fn new(further: &[String]) -> Result<Self, OriginError> {
        let own = own_origins();
        let entries = further.iter().chain(&own).map(|origin| Entry::parse(origin));
        let everyone = further.iter().any(|origin| origin == "*");
        Ok(Self { everyone, entries: entries.collect::<Result<_, _>>()? })
    }

    /// Judges a request by its method, its origin and the host it was sent to.
    pub(super) fn judge(
        &self,
        method: &Method,
        origin: Option<&HeaderValue>,
        host: &str,
    ) -> Verdict {
        let Some(origin) = origin.filter(|origin| !origin.is_empty()) else {
            return Verdict::Pass;
        };
        let text = String::from_utf8_lossy(origin.as_bytes());
        let same = ["http://", "https://"].iter().any(|s| text.strip_prefix(s) == Some(host));
        if same {
            return Verdict::Pass;
        }
        if !self.everyone && !self.entries.iter().any(|entry| entry.matches(&text)) {
            return Verdict::Refuse;
        }
        let everyone = HeaderValue::from_static("*");
        let shown = if self.everyone { &everyone } else { origin };
        match *method {
            Method::OPTIONS => Verdict::Preflight(preflight_headers(shown, self.everyone)),
            _ => Verdict::PassWith(headers(shown, self.everyone)),
        }
    }
}

impl Entry {
    fn parse(origin: &str) -> Result<Self, OriginError> {
        match origin.split_once('*') {
            Some((_, after)) if after.contains('*') => {
                Err(OriginError::TwoWildcards(origin.to_owned()))
            }
            Some((before, after)) => Ok(Self::Between(before.to_owned(), after.to_owned())),
            None if SCHEMES.iter().any(|scheme| origin.starts_with(scheme)) => {
                Ok(Self::Exact(origin.to_ascii_lowercase()))
            }
            None => Err(OriginError::NoScheme(origin.to_owned())),
        }
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(whole) => origin == whole,
            Self::Between(start, end) => origin.starts_with(start) && origin.ends_with(end),
        }
    }
}

fn own_origins() -> Vec<String> {
    let mut origins = Vec::new();
    for name in THIS_MACHINE {
        for scheme in ["http", "https"] {
            origins.push(format!("{scheme}://{name}"));
            origins.push(format!("{scheme}://{name}:*"));
        }
    }
    origins.extend(APPLICATIONS.iter().map(|scheme| format!("{scheme}://*")));
    origins
}

fn headers(origin: &HeaderValue, everyone: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if !everyone {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    headers
}

fn preflight_headers(origin: &HeaderValue, everyone: bool) -> HeaderMap {
    let mut headers = headers(origin, everyone);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS));
    if !everyone {
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Method"));
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::{HeaderValue, Method, OriginError, Origins, Verdict};

    fn origins(further: &[&str]) -> Result<Origins, OriginError> {
        Origins::new(&further.iter().map(|&origin| origin.to_owned()).collect::<Vec<_>>())
    }

    fn passes(origins: &Origins, origin: &str) -> bool {
        let value = HeaderValue::from_str(origin).unwrap();
        !matches!(origins.judge(&Method::GET, Some(&value), "h:1"), Verdict::Refuse)
    }

    #[test]
    fn this_machine_and_applications_may_call() {
        let own = origins(&[]).unwrap();
        let allowed = ["http://localhost", "https://localhost:3", "http://127.0.0.1:99"];
        let further = ["http://0.0.0.0", "app://x", "tauri://localhost", "file://", "http://h:1"];
        for origin in allowed.into_iter().chain(further).chain(["vscode-webview://a"]) {
            assert!(passes(&own, origin), "{origin}");
        }
        for origin in ["null", "http://evil.example", "http://localhost.evil.example", "ws://h:1"] {
            assert!(!passes(&own, origin), "{origin}");
        }
    }

    #[test]
    fn settings_add_origins() {
        let some = origins(&["http://A.example", "https://*.b.example", "moz-extension://*"]);
        let some = some.unwrap();
        for origin in ["http://a.example", "https://x.b.example", "moz-extension://1"] {
            assert!(passes(&some, origin), "{origin}");
        }
        assert!(!passes(&some, "https://b.example"));
        assert!(passes(&origins(&["*"]).unwrap(), "http://evil.example"));
    }

    #[test]
    fn origins_that_cannot_be_meant_are_refused() {
        assert_eq!(
            origins(&["a.example"]).unwrap_err().to_string().find("bad origin 'a.ex"),
            Some(0)
        );
        let two = origins(&["http://*.a.*"]).unwrap_err();
        assert_eq!(two.to_string(), "bad origin 'http://*.a.*': only one * is allowed");
    }
}
