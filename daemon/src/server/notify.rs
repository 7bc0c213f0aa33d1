//! How the service manager learns that we are ready: one datagram, as systemd's `Type=notify` wants it.

use std::os::unix::net::UnixDatagram;

/// Tells systemd that requests are taken from now on. Without systemd there is nobody to tell.
pub(super) fn ready(socket: Option<&str>) {
    let Some(path) = socket else { return };
    let told = UnixDatagram::unbound().and_then(|socket| send(&socket, path));
    if let Err(error) = told {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// Sends to a socket in the file system or, on Linux, one whose name starts with `@`.
fn send(socket: &UnixDatagram, path: &str) -> std::io::Result<()> {
    const READY: &[u8] = b"READY=1\n";
    #[cfg(target_os = "linux")]
    if let Some(name) = path.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(READY, &address).map(drop);
    }
    socket.send_to(READY, path).map(drop)
}
