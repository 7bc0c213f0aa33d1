//! Where does the service listen, and how is it reached?

use std::net::IpAddr;

const PORT: u16 = 11434;
const LOOPBACK: &str = "127.0.0.1";
/// The one name that Ollama itself reaches over https without being told.
const OLLAMA_SITE: &str = "ollama.com";

/// An address in the forms of `OLLAMA_HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `http`, or `https` when asked for.
    pub scheme: String,
    /// A name or an IP address without brackets; empty is every interface.
    pub name: String,
    /// The port.
    pub port: u16,
    /// What comes before the path of a request, with its leading slash; usually empty.
    pub path: String,
}

impl Host {
    /// Reads an address, and says what was wrong with its port.
    pub fn parse(text: &str) -> (Self, Option<String>) {
        let text = text.trim();
        let (scheme, rest, default_port) = match text.split_once("://") {
            Some(("http", rest)) => ("http", rest, 80),
            Some(("https", rest)) => ("https", rest, 443),
            Some((scheme, rest)) => (scheme, rest, PORT),
            None if text == OLLAMA_SITE => ("https", text, 443),
            None => ("http", text, PORT),
        };
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, port) = split(address);
        let (port, warning) = match port.map(|text| (text, port_number(text))) {
            None => (default_port, None),
            Some((_, Some(port))) => (port, None),
            Some((text, None)) => {
                (default_port, Some(format!("invalid port '{text}', using {default_port}")))
            }
        };
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        (Self { scheme: scheme.to_owned(), name, port, path }, warning)
    }

    /// Returns the address to listen on, as `name:port`.
    pub fn listen_address(&self) -> String {
        if self.name.is_empty() { format!("[::]:{}", self.port) } else { self.authority() }
    }

    /// Returns the address of the service as a client uses it: one that can be connected to.
    pub fn connectable(&self) -> Self {
        let name = match self.name.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) if ip.is_unspecified() => LOOPBACK.to_owned(),
            Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "::1".to_owned(),
            _ if self.name.is_empty() => LOOPBACK.to_owned(),
            _ => self.name.clone(),
        };
        Self { name, ..self.clone() }
    }

    /// Returns name and port, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        let Self { name, port, .. } = self;
        if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
    }

    /// Returns the address as a URL without a trailing slash.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority(), self.path.trim_end_matches('/'))
    }
}

/// Splits an address into its name and, if it has one, its port.
fn split(address: &str) -> (String, Option<&str>) {
    if let Ok(ip) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
        return (ip.to_string(), None);
    }
    match address.rsplit_once(':') {
        Some((name, port)) if is_one_name(name) => {
            (name.trim_matches(['[', ']']).to_owned(), Some(port))
        }
        _ if address.is_empty() => (LOOPBACK.to_owned(), None),
        _ => (address.to_owned(), None),
    }
}

/// Says whether this can stand before a port: no bare IPv6 address, which is full of colons.
fn is_one_name(name: &str) -> bool {
    !name.contains(':') || (name.starts_with('[') && name.ends_with(']'))
}

fn port_number(text: &str) -> Option<u16> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Host;

    /// Ollama's own table of addresses.
    const TABLE: &[(&str, &str)] = &[
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":1234", "http://:1234"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com", "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        (":0", "http://:0"),
        (":66000", "http://:11434"),
        (":-1", "http://:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]", "http://[::]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:1337", "http://[::1]:1337"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("http://1.2.3.4:4321", "http://1.2.3.4:4321"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://1.2.3.4:4321", "https://1.2.3.4:4321"),
        ("https://example.com/ollama", "https://example.com:443/ollama"),
        ("https://example.com:4321/ollama/", "https://example.com:4321/ollama"),
        ("ollama.com", "https://ollama.com:443"),
    ];

    #[test]
    fn addresses_are_read_as_ollama_reads_them() {
        for (text, url) in TABLE {
            assert_eq!(Host::parse(text).0.url(), *url, "{text:?}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_warned_about() {
        assert!(Host::parse(":1234").1.is_none());
        assert_eq!(Host::parse(":66000").1.unwrap(), "invalid port '66000', using 11434");
    }

    #[test]
    fn a_client_connects_to_this_machine_when_the_service_listens_everywhere() {
        let table = [
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("https://[::]:2", "https://[::1]:2"),
            (":3", "http://127.0.0.1:3"),
            ("example.com:4", "http://example.com:4"),
        ];
        for (text, url) in table {
            assert_eq!(Host::parse(text).0.connectable().url(), url, "{text:?}");
        }
    }

    #[test]
    fn no_name_listens_on_every_interface() {
        assert_eq!(Host::parse(":1234").0.listen_address(), "[::]:1234");
        assert_eq!(Host::parse("::1").0.listen_address(), "[::1]:11434");
        assert_eq!(Host::parse("").0.listen_address(), "127.0.0.1:11434");
    }
}
