//! Which names lead to a model, and what is said of the others?

use serde_json::{Value, json};

use super::ask::{fails, make, ok, post, send, tiny};
use crate::support::{Daemon, http};

/// Ways to write `tiny`; the answer repeats them as they are.
const SAME: [&str; 10] = [
    "tiny",
    "TINY",
    "tiny:latest",
    "Tiny:LATEST",
    "library/tiny",
    "Library/tiny:latest",
    "registry.ollama.ai/library/tiny:latest",
    "https://registry.ollama.ai/library/tiny",
    " tiny ",
    "tiny:local",
];

#[test]
fn a_name_has_many_spellings_and_the_answer_repeats_its_own() {
    let daemon = tiny(&[]);
    for name in SAME {
        let answer = ok(&daemon, "/api/embed", &json!({ "model": name, "input": "a" }));
        assert_eq!(answer["model"], name);
        ok(&daemon, "/api/show", &json!({ "model": name }));
        let answer = ok(&daemon, "/v1/embeddings", &json!({ "model": name, "input": "a" }));
        assert_eq!(answer["model"], name);
        // Ollama does not fold the case here.
        ok(&daemon, "/api/embeddings", &json!({ "model": name, "prompt": "a" }));
    }
    // The older key means the same, and an empty new one does not hide it.
    let old = json!({ "model": "", "name": "tiny" });
    ok(&daemon, "/api/show", &old);
    assert_eq!(send(&daemon, "DELETE", "/api/delete", &old), (200, Value::Null));
}

#[test]
fn names_that_cannot_be() {
    let daemon = tiny(&[]);
    let long = "m".repeat(81);
    let table = [
        "a b",
        "x:",
        "a/b/c/d",
        "a//b",
        "/a",
        "-a",
        "tiny:-a",
        "a.b/c",
        "^",
        "ns:x/tiny",
        &long,
        "tiny@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ];
    for name in table {
        for (path, key) in [
            ("/api/embed", "model"),
            ("/api/embeddings", "model"),
            ("/api/show", "name"),
            ("/api/pull", "model"),
            ("/api/create", "name"),
        ] {
            fails(&daemon, path, &json!({ key: name, "from": "tiny" }), 400, "invalid model name");
        }
        let (status, answer) = send(&daemon, "DELETE", "/api/delete", &json!({ "model": name }));
        let text = format!("name \"{name}\" is invalid");
        assert_eq!((status, answer), (400, json!({ "error": text })));
    }
    let (status, _) = post(&daemon, "/api/embed", &json!({ "model": "m".repeat(80) }));
    assert_eq!(status, 404, "80 letters are allowed");
}

#[test]
fn there_is_no_cloud_here() {
    let daemon = tiny(&[]);
    make(&daemon, "x-cloud", "bert-mean", &Value::Null);
    ok(&daemon, "/api/embed", &json!({ "model": "x-cloud" }));
    for name in ["tiny:cloud", "tiny:1b-cloud", "TINY:Cloud"] {
        let text = "ollama cloud is disabled: remote model is unavailable";
        for path in ["/api/embed", "/api/embeddings", "/v1/embeddings"] {
            let body = json!({ "model": name, "input": "a", "prompt": "a" });
            fails(&daemon, path, &body, 403, text);
        }
        let text = "ollama cloud is disabled: remote model details are unavailable";
        fails(&daemon, "/api/show", &json!({ "model": name }), 403, text);
    }
    let both = "tiny:cloud:local";
    let text = format!("use either :local or :cloud, not both: \"{both}\"");
    fails(&daemon, "/api/embed", &json!({ "model": both }), 400, &text);
}

#[test]
fn a_name_that_is_missing_is_repeated() {
    let daemon = Daemon::start(&[]);
    let table = [
        (json!({}), 404, "model '' not found"),
        (json!({ "model": "  " }), 404, "model '  ' not found"),
        (json!({ "model": "No\"pe" }), 400, "invalid model name"),
        (json!({ "model": "Nope:Q4" }), 404, "model \"Nope:Q4\" not found, try pulling it first"),
    ];
    for (body, status, text) in table {
        fails(&daemon, "/api/embed", &body, status, text);
    }
    fails(&daemon, "/api/show", &json!({ "model": "ns/x" }), 404, "model 'ns/x:latest' not found");
    // As Go writes JSON, what could be markup is escaped.
    let (_, _, text) = http(&daemon.url, "DELETE", "/api/delete", &[], br#"{"model":"<b>&"}"#);
    assert_eq!(text, r#"{"error":"name \"\u003cb\u003e\u0026\" is invalid"}"#);
}
