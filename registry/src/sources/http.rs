//! How are servers spoken to? Certificates, proxies, redirects, and who may be asked without encryption.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, Url};

use super::Settings;
use super::download::root_cause;
use crate::error::{Error, Result};

/// Redirects of one request.
const REDIRECTS: usize = 10;

/// Returns a client for requests that begin at this address.
pub(super) async fn client(settings: &Settings, base: &Url) -> Result<Client> {
    build(settings, base, redirects(settings.clone(), base.clone())).await
}

/// Returns a client for requests to this address that no redirect may take elsewhere.
pub(super) async fn direct_client(settings: &Settings, base: &Url) -> Result<Client> {
    build(settings, base, Policy::none()).await
}

/// A client reads all certificates of the machine, so it is made on a thread that may block.
async fn build(settings: &Settings, base: &Url, redirects: Policy) -> Result<Client> {
    let (settings, base) = (settings.clone(), base.clone());
    crate::blocking(move || client_with(&settings, &base, redirects)).await
}

fn client_with(settings: &Settings, base: &Url, redirects: Policy) -> Result<Client> {
    let host = base.host_str().unwrap_or_default();
    let failed = |reason: String| Error::unreachable(host, reason);
    if base.scheme() != "https" && !may_be_plain(settings, base) {
        return Err(failed(
            "it is not encrypted (http); if you trust the network between, use --insecure"
                .to_owned(),
        ));
    }
    let mut builder = Client::builder()
        .user_agent(&settings.user_agent)
        .connect_timeout(settings.connect)
        .read_timeout(settings.stall)
        .redirect(redirects);
    if is_this_machine(base) {
        builder = builder.no_proxy();
    }
    if let Some(path) = &settings.certificates {
        let read = fs::read(path).map_err(|error| failed(format!("'{}': {error}", path.display())));
        let certificates = Certificate::from_pem_bundle(&read?);
        let certificates = certificates
            .map_err(|error| failed(format!("'{}': {}", path.display(), root_cause(&error))))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| failed(root_cause(&error)))
}

/// Tells whether a server may be spoken to without encryption.
pub(super) fn may_be_plain(settings: &Settings, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let with_port = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let is_it = |allowed: &String| {
        allowed == "*"
            || allowed.eq_ignore_ascii_case(host)
            || allowed.eq_ignore_ascii_case(&with_port)
    };
    is_this_machine(url) || settings.insecure.iter().any(is_it)
}

/// Tells whether an address is one of this machine's own.
pub(super) fn is_this_machine(url: &Url) -> bool {
    address(url).is_some_and(|address| address.is_loopback())
}

/// Returns the address that stands in a URL as its host.
pub(super) fn address(url: &Url) -> Option<IpAddr> {
    match url.host_str()? {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => {
            host.trim_matches(['[', ']']).parse().ok().map(|address: IpAddr| address.to_canonical())
        }
    }
}

/// Follows a server's redirects, but not to where it could not send us by itself: out of encryption, to this
/// machine, or to the addresses that clouds answer questions about a machine at.
fn redirects(settings: Settings, base: Url) -> Policy {
    Policy::custom(move |attempt: Attempt<'_>| {
        let url = attempt.url();
        let is_metadata = match address(url) {
            Some(IpAddr::V4(address)) => address.is_link_local() || address.is_unspecified(),
            Some(IpAddr::V6(address)) => {
                address.is_unicast_link_local() || address.is_unspecified()
            }
            None => false,
        };
        let reason = if attempt.previous().len() > REDIRECTS {
            "too many redirects"
        } else if url.scheme() != "https" && !may_be_plain(&settings, url) {
            "a redirect leaves encryption"
        } else if is_metadata || is_this_machine(url) && !is_this_machine(&base) {
            "a redirect leads to an address that is not the server's to name"
        } else {
            return attempt.follow();
        };
        attempt.error(reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn only_this_machine_and_named_hosts_may_be_plain() {
        let settings = Settings {
            insecure: vec!["r.example:5000".to_owned(), "plain.example".to_owned()],
            ..Default::default()
        };
        for text in [
            "http://localhost:1",
            "http://127.0.0.9",
            "http://[::1]:5",
            "http://r.example:5000/x",
            "http://plain.example:8",
            "http://Plain.Example",
        ] {
            assert!(may_be_plain(&settings, &url(text)), "{text}");
        }
        for text in ["http://r.example", "http://127.0.0.1.example", "http://10.0.0.1"] {
            assert!(!may_be_plain(&settings, &url(text)), "{text}");
        }
        let all = Settings { insecure: vec!["*".to_owned()], ..Default::default() };
        assert!(may_be_plain(&all, &url("http://10.0.0.1")));
        let error = client_with(&settings, &url("http://r.example"), Policy::none());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("--insecure"), "{error}");
    }
}
