//! How do these tests ask a daemon, and put tiny models into it?

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::support::{Daemon, checkout, http};

/// What the daemon does a moment after its answer, such as unloading, is done by then.
const SOON: Duration = Duration::from_secs(10);

/// A status, and the JSON of the body; null where there is none.
pub(super) type Reply = (u16, Value);

/// Sends a JSON body and returns the answer.
pub(super) fn send(daemon: &Daemon, method: &str, path: &str, body: &Value) -> Reply {
    let (status, _, text) = http(&daemon.url, method, path, &[], body.to_string().as_bytes());
    let json = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
    (status, json)
}

pub(super) fn post(daemon: &Daemon, path: &str, body: &Value) -> Reply {
    send(daemon, "POST", path, body)
}

/// Returns what a route tells that answers 200.
pub(super) fn get(daemon: &Daemon, path: &str) -> Value {
    let (status, _, text) = http(&daemon.url, "GET", path, &[], b"");
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Returns the answer to a request that must succeed.
pub(super) fn ok(daemon: &Daemon, path: &str, body: &Value) -> Value {
    let (status, answer) = post(daemon, path, body);
    assert_eq!(status, 200, "{path} {body}: {answer}");
    answer
}

/// Checks that a request fails with this status and text.
pub(super) fn fails(daemon: &Daemon, path: &str, body: &Value, status: u16, text: &str) {
    let reply = post(daemon, path, body);
    assert_eq!(reply, (status, json!({ "error": text })), "{path} {body}");
}

/// Returns the lines of a stream.
pub(super) fn lines(daemon: &Daemon, path: &str, body: &Value) -> Vec<Value> {
    let body = body.to_string();
    let (status, headers, text) = http(&daemon.url, "POST", path, &[], body.as_bytes());
    assert_eq!(status, 200, "{path} {body}: {text}");
    assert!(headers.contains(&("content-type".to_owned(), "application/x-ndjson".to_owned())));
    assert!(text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the status of each line without its digest, and equal neighbours once.
pub(super) fn statuses<'a>(lines: &'a [Value]) -> Vec<&'a str> {
    let status = |line: &'a Value| line["status"].as_str().unwrap_or_else(|| panic!("{line}"));
    let mut statuses: Vec<&str> =
        lines.iter().map(|line| status(line).split(" sha256:").next().unwrap()).collect();
    statuses.dedup();
    statuses
}

/// Returns the vectors of an answer of `/api/embed`.
pub(super) fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    let rows = answer["embeddings"].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter().map(vector).collect()
}

/// Returns a list of numbers.
pub(super) fn vector(row: &Value) -> Vec<f32> {
    row.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Returns the names of the fields of an object, in their order.
pub(super) fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Returns the names of the models in memory, in their order.
pub(super) fn loaded(daemon: &Daemon) -> Vec<String> {
    let models = get(daemon, "/api/ps")["models"].take();
    models.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
}

/// Asks until the answer is the wanted one.
pub(super) fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "{what}");
    }
}

/// Returns every file of a tiny model by its path in the repository.
pub(super) fn files(model: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    walk(&checkout("tests/goldens/models").join(model), "", &mut files);
    files
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            walk(&path, &format!("{name}/"), files);
        } else {
            files.push((name, fs::read(path).unwrap()));
        }
    }
}

/// Uploads files and returns the `files` of a request to create a model.
pub(super) fn upload(daemon: &Daemon, files: Vec<(String, Vec<u8>)>) -> Value {
    let upload = |(path, bytes): (String, Vec<u8>)| {
        let digest = registry::digest_of(&bytes).to_string();
        let route = format!("/api/blobs/{digest}");
        let (status, ..) = http(&daemon.url, "POST", &route, &[], &bytes);
        assert!(matches!(status, 200 | 201), "{path}: {status}");
        (path, json!(digest))
    };
    files.into_iter().map(upload).collect::<Map<_, _>>().into()
}

/// Makes a tiny model under a name; `parameters` may be null.
pub(super) fn make(daemon: &Daemon, name: &str, model: &str, parameters: &Value) {
    create(daemon, name, files(model), parameters);
}

/// Makes a model of files.
pub(super) fn create(
    daemon: &Daemon,
    name: &str,
    files: Vec<(String, Vec<u8>)>,
    parameters: &Value,
) {
    let files = upload(daemon, files);
    let body = json!({ "model": name, "files": files, "parameters": parameters, "stream": false });
    assert_eq!(post(daemon, "/api/create", &body), (200, json!({ "status": "success" })));
}

/// A daemon with the tiny model `tiny`.
pub(super) fn tiny(env: &[(&str, &str)]) -> Daemon {
    let daemon = Daemon::start(env);
    make(&daemon, "tiny", "bert-mean", &Value::Null);
    daemon
}
