//! What does the hub answer to one request?

use serde_json::{Value, json};

use super::{Files, Repositories, Seen, Trick};

/// Files above this size have a digest in the listing, as the hub does it for large files.
const LARGE: usize = 20_000;

/// Status line with headers, and body.
type Answer = (String, Vec<u8>);

/// Answers a request for a listing or a file.
pub(super) fn answer(
    repositories: &Repositories,
    port: u16,
    seen: &Seen,
    trick: Option<Trick>,
) -> Answer {
    if let Some(Trick::Page(status, code)) = trick {
        return page(status, code);
    }
    let target = seen.target.strip_prefix("/moved").unwrap_or(&seen.target);
    if matches!(trick, Some(Trick::Redirect)) && target == seen.target {
        let place = format!("http://localhost:{port}/moved{target}");
        return (format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\n"), Vec::new());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let found = match parts[..] {
        ["api", "models", owner, name, "revision", revision] => {
            let found = find(repositories, owner, name, revision);
            let with_blobs = query.contains("blobs") && !matches!(trick, Some(Trick::Bare));
            found.map(|(key, files)| ok(listing(key, files, with_blobs)))
        }
        [owner, name, "resolve", revision, ref rest @ ..] => {
            let found = find(repositories, owner, name, revision);
            let bytes = found.and_then(|(_, files)| files.get(&rest.join("/")));
            bytes.map(|bytes| file(bytes, seen.range, trick))
        }
        _ => None,
    };
    found.unwrap_or_else(|| page(404, "RepoNotFound"))
}

fn find<'a>(
    repositories: &'a Repositories,
    owner: &str,
    name: &str,
    revision: &str,
) -> Option<(&'a str, &'a Files)> {
    let is_it = |key: &str, files: &Files| {
        let wanted = key.strip_prefix(&format!("{owner}/{name}@"));
        wanted == Some(revision) || wanted.is_some() && commit(key, files) == revision
    };
    let found = repositories.iter().find(|(key, files)| is_it(key, files));
    found.map(|(key, files)| (key.as_str(), files))
}

fn file(bytes: &[u8], start: Option<usize>, trick: Option<Trick>) -> Answer {
    match (trick, start) {
        (Some(Trick::Wrong), _) => ok(vec![0; bytes.len()]),
        (Some(Trick::IgnoreRange), _) | (_, None) => ok(bytes.to_vec()),
        (_, Some(start)) if start >= bytes.len() => page(416, ""),
        (_, Some(start)) => {
            let (last, length) = (bytes.len() - 1, bytes.len());
            let range = format!("content-range: bytes {start}-{last}/{length}\r\n");
            (format!("HTTP/1.1 206 Partial Content\r\n{range}"), bytes[start..].to_vec())
        }
    }
}

/// Returns the commit that a revision stands for; other files are another commit.
fn commit(key: &str, files: &Files) -> String {
    let digests =
        files.iter().map(|(path, bytes)| path.clone() + &registry::digest_of(bytes).hex());
    let all = digests.collect::<String>() + key;
    registry::digest_of(all.as_bytes()).hex()[..40].to_owned()
}

fn listing(key: &str, files: &Files, with_blobs: bool) -> Vec<u8> {
    let entry = |(path, bytes): (&String, &Vec<u8>)| -> Value {
        if !with_blobs {
            return json!({ "rfilename": path });
        }
        let mut entry = json!({ "rfilename": path, "size": bytes.len() });
        if bytes.len() > LARGE {
            let digest = registry::digest_of(bytes).hex();
            entry["lfs"] = json!({ "sha256": digest, "size": bytes.len() });
        }
        entry
    };
    let siblings: Vec<Value> = files.iter().map(entry).collect();
    json!({ "id": key, "sha": commit(key, files), "siblings": siblings }).to_string().into_bytes()
}

fn ok(body: Vec<u8>) -> Answer {
    ("HTTP/1.1 200 OK\r\n".to_owned(), body)
}

fn page(status: u16, code: &str) -> Answer {
    let head = format!("HTTP/1.1 {status} No\r\nx-error-code: {code}\r\n");
    (head, b"<html>a page</html>".to_vec())
}
