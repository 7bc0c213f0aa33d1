//! What do copying and deleting do, and do they leave the spelling of names alone?

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::ask::{get, make, ok, post, send, tiny};
use crate::support::{Daemon, http};

/// Returns the paths of all manifests below the folder of the store.
fn manifests(daemon: &Daemon) -> Vec<String> {
    let mut found = Vec::new();
    let root = daemon.store.join("manifests");
    walk(&root, &mut found);
    found.sort();
    found.iter().map(|path| path.replace(&format!("{}/", root.display()), "")).collect()
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path.display().to_string()) }
    }
}

fn blobs(daemon: &Daemon) -> usize {
    fs::read_dir(daemon.store.join("blobs")).unwrap().count()
}

/// Asks a route that answers with a status and no body.
fn quiet(daemon: &Daemon, method: &str, path: &str, body: &Value) {
    assert_eq!(send(daemon, method, path, body), (200, Value::Null), "{path} {body}");
}

/// Ollama's `TestManifestCaseSensitivity`.
#[test]
fn the_first_spelling_of_a_name_stays() {
    let first = "Example/NameSpace/Model:Tag";
    let stored = ["Example/NameSpace/Model/Tag".to_owned()];
    let daemon = Daemon::start(&[]);
    make(&daemon, first, "bert-mean", &Value::Null);
    assert_eq!(manifests(&daemon), stored);
    make(&daemon, "example/namespace/MODEL:tag", "bert-mean", &json!({ "num_ctx": 32 }));
    assert_eq!(manifests(&daemon), stored);
    let copy = json!({ "source": "eXample/NAMEspace/model:TAG", "destination": "EXAMPLE/namespace/mOdel:taG" });
    quiet(&daemon, "POST", "/api/copy", &copy);
    assert_eq!(manifests(&daemon), stored);
    // Each part takes the spelling that it has in another model.
    let copy = json!({ "source": first, "destination": "example/namespace/other:TAG" });
    quiet(&daemon, "POST", "/api/copy", &copy);
    assert_eq!(manifests(&daemon), ["Example/NameSpace/Model/Tag", "Example/NameSpace/other/Tag"]);
    quiet(&daemon, "DELETE", "/api/delete", &json!({ "model": "EXAMPLE/NAMESPACE/MODEL:TAG" }));
    assert_eq!(manifests(&daemon), ["Example/NameSpace/other/Tag"]);
}

/// Ollama's `TestDelete`.
#[test]
fn blobs_stay_as_long_as_a_model_needs_them() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "one", "bert-mean", &Value::Null);
    let alone = blobs(&daemon);
    make(&daemon, "ns/two:v1", "bert-mean", &json!({ "seed": 7 }));
    assert_eq!(blobs(&daemon), alone + 1, "all but the parameters is shared");
    quiet(&daemon, "DELETE", "/api/delete", &json!({ "model": "ns/two:v1" }));
    assert_eq!((blobs(&daemon), manifests(&daemon).len()), (alone, 1));
    ok(&daemon, "/api/embed", &json!({ "model": "one", "input": "a" }));
    quiet(&daemon, "DELETE", "/api/delete", &json!({ "name": "one" }));
    assert_eq!((blobs(&daemon), manifests(&daemon).len()), (0, 0));
    assert!(
        fs::read_dir(daemon.store.join("manifests")).is_ok_and(|mut rest| rest.next().is_none())
    );
    assert_eq!(get(&daemon, "/api/tags"), json!({ "models": [] }));
}

#[test]
fn a_copy_is_the_same_manifest_and_replaces() {
    let daemon = tiny(&[]);
    make(&daemon, "other", "bert-plain", &Value::Null);
    let before = blobs(&daemon);
    quiet(&daemon, "POST", "/api/copy", &json!({ "source": "tiny", "destination": "tiny" }));
    for destination in ["me/tiny:v2", "other"] {
        let copy = json!({ "source": "TINY:local", "destination": destination });
        quiet(&daemon, "POST", "/api/copy", &copy);
    }
    let digests = |name: &str| {
        let models = get(&daemon, "/api/tags")["models"].take();
        let model = models.as_array().unwrap().iter().find(|model| model["name"] == name).cloned();
        model.unwrap()["digest"].take()
    };
    assert_eq!(digests("tiny:latest"), digests("me/tiny:v2"));
    assert_eq!(digests("tiny:latest"), digests("other:latest"));
    assert!(blobs(&daemon) < before, "what only the replaced model needed is gone");
}

#[test]
fn what_is_missing_or_invalid_is_named() {
    let daemon = tiny(&[]);
    let table = [
        (json!({ "source": "nope", "destination": "x" }), 404, "model \"nope\" not found"),
        (json!({ "source": "", "destination": "" }), 400, "source \"\" is invalid"),
        (json!({ "source": "a b", "destination": "x" }), 400, "source \"a b\" is invalid"),
        (json!({ "source": "tiny" }), 400, "destination \"\" is invalid"),
        (
            json!({ "source": "tiny", "destination": "a\"b" }),
            400,
            "destination \"a\\\"b\" is invalid",
        ),
    ];
    for (body, status, text) in table {
        assert_eq!(post(&daemon, "/api/copy", &body), (status, json!({ "error": text })));
    }
    for (name, status, text) in [
        ("nope", 404, "model 'nope' not found"),
        ("No:Q", 404, "model 'No:Q' not found"),
        ("", 400, "model is required"),
        ("a b", 400, "name \"a b\" is invalid"),
    ] {
        let reply = send(&daemon, "DELETE", "/api/delete", &json!({ "model": name }));
        assert_eq!(reply, (status, json!({ "error": text })));
    }
    assert_eq!(http(&daemon.url, "POST", "/api/delete", &[], b"{}").0, 405);
}
