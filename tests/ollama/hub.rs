//! How do tests pull without a network? From a hub on loopback that has one tiny model.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};

use super::ask::files;
use crate::support::Daemon;

const COMMIT: &str = "0123456789012345678901234567890123456789";

/// Starts a hub whose `tiny/bert` holds the files of a tiny model, and a daemon that pulls from it.
pub(super) fn daemon(model: &str) -> Daemon {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let files = files(model);
    // It ends with the process of the tests.
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &files);
        }
    });
    Daemon::start(&[("HF_ENDPOINT", &endpoint), ("NO_PROXY", "127.0.0.1")])
}

fn answer(mut stream: TcpStream, files: &[(String, Vec<u8>)]) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    // The rest of the head must be read before the connection is closed.
    let _head = lines.take_while(|line| !line.is_empty()).count();
    let path = request.split([' ', '?']).nth(1).unwrap_or_default();
    let listing = || {
        let siblings: Vec<_> = files.iter().map(|(path, bytes)| sibling(path, bytes)).collect();
        json!({ "id": "tiny/bert", "sha": COMMIT, "siblings": siblings }).to_string().into_bytes()
    };
    let file = path.strip_prefix(&format!("/tiny/bert/resolve/{COMMIT}/"));
    let body = match file {
        Some(file) => files.iter().find(|(path, _)| path == file).map(|(_, bytes)| bytes.clone()),
        None if path.starts_with("/api/models/tiny/bert/revision/") => Some(listing()),
        None => None,
    };
    let status =
        if body.is_some() { "200 OK" } else { "404 Not Found\r\nX-Error-Code: RepoNotFound" };
    let body = body.unwrap_or_default();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let mut send = || stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    // A client that has seen enough may close first.
    send().ok();
}

/// Describes a file: the digest is told of large ones only.
fn sibling(path: &str, bytes: &[u8]) -> Value {
    let size = bytes.len();
    if size < 100_000 {
        return json!({ "rfilename": path, "size": size });
    }
    let digest = registry::digest_of(bytes).hex();
    json!({ "rfilename": path, "size": size, "lfs": { "sha256": digest, "size": size } })
}
