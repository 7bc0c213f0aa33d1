//! How does a test send one HTTP request, byte for byte as it says, and read the answer?

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A pull of real weights is the slowest thing that a test waits for.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// A status, headers in their order, and a body without its transfer coding.
pub(crate) type Answer = (u16, Vec<(String, String)>, String);

/// Returns the daemon's answer to one request; a `Host` among `headers` replaces the usual one.
pub(crate) fn http(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let answer = try_http(url, method, path, headers, body);
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// Does what [`http`] does, for a daemon that may not be there.
pub(crate) fn try_http(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let host = url.trim_start_matches("http://");
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    let own_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let usual_host = [("Host", host)];
    for (name, value) in headers.iter().chain(usual_host.iter().filter(|_| !own_host)) {
        write!(head, "{name}: {value}\r\n").expect("a String takes everything");
    }
    head.push_str("\r\n");
    let bytes = exchange(host, &[head.as_bytes(), body])?;
    parse(&bytes).ok_or_else(|| {
        io::Error::other(format!("no HTTP answer: {}", String::from_utf8_lossy(&bytes)))
    })
}

fn exchange(host: &str, request: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    for part in request {
        stream.write_all(part)?;
    }
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let chunked = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding")
            && value.trim().eq_ignore_ascii_case("chunked")
    });
    let rest = &bytes[end + 4..];
    let body = if chunked { unchunked(rest)? } else { rest.to_vec() };
    let headers =
        headers.into_iter().map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Some((status, headers.collect(), String::from_utf8_lossy(&body).into_owned()))
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}
