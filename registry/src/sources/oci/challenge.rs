//! What does a registry ask for before it answers, and where may a secret go for that?

use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use super::super::Settings;
use super::super::http::{address, may_be_plain};

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password, in each request.
    Basic,
    /// A token that a token server gives.
    Bearer(Asked),
}

/// Where a token is had, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) realm: String,
    pub(super) service: Option<String>,
    pub(super) scope: Option<String>,
}

impl Challenge {
    /// Returns what the answer 401 asks for, if we know how to give it.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let texts =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<Self> = texts.filter_map(Self::parse).collect();
        let bearer = all.iter().find(|challenge| **challenge != Self::Basic);
        bearer.or(all.first()).cloned()
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest);
        let find = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| (*value).to_owned())
        };
        let (realm, service, scope) = (find("realm")?, find("service"), find("scope"));
        Some(Self::Bearer(Asked { realm, service, scope }))
    }
}

/// Splits `a="b",c=d`.
fn parameters(mut text: &str) -> Vec<(&str, &str)> {
    let mut parameters = Vec::new();
    while let Some((key, rest)) = text.split_once('=') {
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        parameters.push((key.trim_matches([',', ' ']), value.trim()));
        text = rest;
    }
    parameters
}

/// Returns the address of a token server, unless it is none that this registry may send us to: a registry could
/// name any server, and collect there what was meant for itself or another.
pub(super) fn token_server(
    settings: &Settings,
    registry: &Url,
    realm: &str,
) -> Result<Url, String> {
    let url = Url::parse(realm)
        .map_err(|_unparsed| format!("its token server '{realm}' has no address"))?;
    let is_web = ["http", "https"].contains(&url.scheme());
    if !is_web || url.scheme() == "http" && !may_be_plain(settings, &url) {
        return Err(format!("its token server '{realm}' is not encrypted (https)"));
    }
    if !is_same_site(registry, &url) {
        let host = url.host_str().unwrap_or_default();
        return Err(format!("it wants to be asked for tokens at '{host}', which is not its own"));
    }
    Ok(url)
}

/// Tells whether two hosts belong to the same owner, as far as their names tell.
fn is_same_site(a: &Url, b: &Url) -> bool {
    let (Some(one), Some(other)) = (a.host_str(), b.host_str()) else { return false };
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    let has_name = |url| address(url).is_none();
    let site = || Some(site(one)? == site(other)?);
    has_name(a) && has_name(b) && site().unwrap_or(false)
}

/// Labels below the name of a country that belong to nobody.
const SHARED: &[&str] = &["ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"];

/// Returns the part of a name that somebody registered: two labels, or three below ones such as `co.uk`.
fn site(host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let labels: Vec<&str> = host.split('.').collect();
    let count = match labels[..] {
        [.., second, country] if country.len() == 2 && SHARED.contains(&second) => 3,
        _ => 2,
    };
    (labels.len() >= count).then(|| labels[labels.len() - count..].join("."))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn of(texts: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(text));
        }
        Challenge::of(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let bearer = of(&[
            "Basic realm=\"x\"",
            "Bearer realm=\"https://a.example/t\",service=\"s, t\", scope=\"repository:a/b:pull\"",
        ]);
        let text = |text: &str| Some(text.to_owned());
        let (service, scope) = (text("s, t"), text("repository:a/b:pull"));
        let realm = "https://a.example/t".to_owned();
        assert_eq!(bearer, Some(Challenge::Bearer(Asked { realm, service, scope })));
        assert_eq!(of(&["basic"]), Some(Challenge::Basic));
        let bare = Challenge::Bearer(Asked { realm: "x".to_owned(), service: None, scope: None });
        assert_eq!(of(&["bearer realm=x"]), Some(bare));
        for texts in [&[][..], &["Negotiate"], &["Bearer"], &["Bearer service=\"x\""]] {
            assert_eq!(of(texts), None, "{texts:?}");
        }
    }

    #[test]
    fn secrets_stay_with_their_owner() {
        let settings = Settings::default();
        let check = |registry: &str, realm: &str| {
            let registry = Url::parse(registry).unwrap();
            token_server(&settings, &registry, realm).map_err(drop).is_ok()
        };
        for (registry, realm) in [
            ("https://r.example.com", "https://r.example.com/token"),
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://registry.example.co.uk", "https://gitlab.example.co.uk/jwt"),
            ("https://registry.abc.de", "https://gitlab.abc.de/jwt"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
            ("http://localhost:5000", "http://localhost:5001/token"),
        ] {
            assert!(check(registry, realm), "{registry} {realm}");
        }
        for (registry, realm) in [
            ("https://r.example.com", "https://evil.org/token"),
            ("https://r.example.com", "http://r.example.com/token"),
            ("https://r.example.com", "https://r.example.com.evil.org/token"),
            ("https://r.example.com", "https://evilexample.com/token"),
            ("https://good.co.uk", "https://evil.co.uk/token"),
            ("https://r.com", "https://com/token"),
            ("https://r.example.com", "file:///etc/passwd"),
            ("https://r.example.com", "/token"),
            ("https://10.1.2.3", "https://9.1.2.3/token"),
            ("http://localhost:5000", "http://127.0.0.1:5001/token"),
            ("https://r.example.com", "http://169.254.169.254/token"),
        ] {
            assert!(!check(registry, realm), "{registry} {realm}");
        }
    }
}
