//! Does the `Host` of a request name this machine?

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::process::Command;

/// Names that no public name server can give to a foreign web page.
const LOCAL_ENDINGS: [&str; 3] = [".localhost", ".local", ".internal"];

/// Returns the name of this machine; empty when it has none that we can find out.
pub(crate) fn name_of_this_machine() -> String {
    let asked = || Command::new("hostname").output().map(|output| output.stdout);
    let name = std::fs::read("/proc/sys/kernel/hostname").or_else(|_missing| asked());
    String::from_utf8_lossy(&name.unwrap_or_default()).trim().to_owned()
}

/// What a host is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An address of this machine or of a private network.
    Address,
    /// A name of this machine.
    Name,
    /// Anything else.
    Foreign,
}

/// Judges a host with or without its port; `hostname` is the name of this machine.
pub(super) fn judge(host: &str, hostname: &str) -> Verdict {
    let name = without_port(host).to_ascii_lowercase();
    if name.parse().is_ok_and(is_near) {
        return Verdict::Address;
    }
    let ours = name.is_empty() || name == "localhost" || name.eq_ignore_ascii_case(hostname);
    if ours || LOCAL_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return Verdict::Name;
    }
    Verdict::Foreign
}

/// Removes the port, and the brackets of an IPv6 address.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(host, |(address, _)| address);
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

fn is_near(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let private = match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    };
    private || address.is_loopback() || address.is_unspecified() || is_of_this_machine(address)
}

/// Says whether an interface has this address: only then can a socket be bound to it.
fn is_of_this_machine(address: IpAddr) -> bool {
    let anywhere = address.is_multicast() || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    !anywhere && UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    #[test]
    fn hosts_of_this_machine_and_of_private_networks_pass() {
        let near = ["127.0.0.1", "127.0.0.1:1", "10.0.0.1", "192.168.1.1:5", "172.16.0.1"];
        let further = ["0.0.0.0", "[::1]:5", "[::1]", "::1", "fd00::1", "::ffff:127.0.0.1"];
        for host in near.into_iter().chain(further) {
            assert_eq!(judge(host, "box"), Verdict::Address, "{host}");
        }
    }

    #[test]
    fn names_of_this_machine_pass() {
        let names = ["", "localhost", "LocalHost:1", "box", "BOX:80", "a.b.local", "x.internal"];
        for host in names.into_iter().chain(["x.localhost:3", ":80"]) {
            assert_eq!(judge(host, "Box"), Verdict::Name, "{host}");
        }
    }

    #[test]
    fn other_hosts_do_not_pass() {
        let far = ["evil.example", "8.8.8.8", "169.254.1.1", "local", "localhost.evil.example"];
        for host in far.into_iter().chain(["172.32.0.1", "2001:db8::1", "224.0.0.1", "[::1"]) {
            assert_eq!(judge(host, "box"), Verdict::Foreign, "{host}");
        }
    }
}
