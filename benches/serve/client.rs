//! How does a benchmark ask the service? HTTP/1.1 on a connection that stays open, with as little work as possible.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// An open connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    answer: Vec<u8>,
}

impl Client {
    /// Connects to a service.
    pub(crate) fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream), answer: Vec::new() })
    }

    /// Sends a request that was made by [`request`], and returns the body of the answer, whose status must be 200.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<&[u8]> {
        self.stream.get_mut().write_all(request)?;
        let (mut line, mut length, mut status) = (String::new(), 0, 0);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            }
            if let Some((name, value)) = text.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().map_err(io::Error::other)?;
            }
        }
        self.answer.resize(length, 0);
        self.stream.read_exact(&mut self.answer)?;
        if status == 200 {
            return Ok(&self.answer);
        }
        Err(io::Error::other(String::from_utf8_lossy(&self.answer).into_owned()))
    }
}

/// Writes a request to embed these texts.
pub(crate) fn request(texts: &[String]) -> Vec<u8> {
    let body =
        serde_json::json!({ "model": "bench", "input": texts, "keep_alive": -1 }).to_string();
    let head = format!(
        "POST /api/embed HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}
