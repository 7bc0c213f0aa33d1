//! Do `/api/generate` and `/api/chat` unload a model, and refuse all else?

use std::thread;

use serde_json::{Value, json};

use super::ask::{fails, get, keys, loaded, ok, send, soon, tiny};

#[test]
fn keep_alive_zero_unloads_whether_loaded_or_not() {
    let daemon = tiny(&[]);
    let generate = ["model", "created_at", "response", "done", "done_reason"];
    let chat = ["model", "created_at", "message", "done", "done_reason"];
    let table = [
        ("/api/generate", json!({ "model": "TINY", "keep_alive": "0s" }), generate),
        ("/api/generate", json!({ "model": "TINY", "prompt": "", "keep_alive": 0 }), generate),
        ("/api/chat", json!({ "model": "TINY", "keep_alive": 0 }), chat),
        ("/api/chat", json!({ "model": "TINY", "messages": [], "keep_alive": "0" }), chat),
    ];
    for (path, body, fields) in table {
        ok(&daemon, "/api/embed", &json!({ "model": "tiny", "input": "a" }));
        assert_eq!(loaded(&daemon), ["tiny:latest"]);
        for _ in 0..2 {
            let answer = ok(&daemon, path, &body);
            assert_eq!(keys(&answer), fields);
            let told = (&answer["model"], &answer["done"], &answer["done_reason"]);
            assert_eq!(told, (&json!("TINY"), &json!(true), &json!("unload")));
            soon("the model is unloaded", || loaded(&daemon).is_empty());
        }
    }
}

#[test]
fn a_busy_model_goes_when_its_requests_end() {
    let daemon = tiny(&[]);
    let stop = json!({ "model": "tiny", "keep_alive": 0 });
    let texts = vec!["why is the sky blue? ".repeat(6); 2000];
    let body = json!({ "model": "tiny", "input": texts, "keep_alive": "1h" });
    thread::scope(|scope| {
        let request = scope.spawn(|| ok(&daemon, "/api/embed", &body));
        soon("the model is loaded", || !loaded(&daemon).is_empty());
        ok(&daemon, "/api/generate", &stop);
        assert_eq!(loaded(&daemon), ["tiny:latest"]);
        assert_eq!(request.join().unwrap()["embeddings"].as_array().unwrap().len(), 2000);
    });
    soon("the model is unloaded", || loaded(&daemon).is_empty());
}

#[test]
fn all_else_is_refused() {
    let daemon = tiny(&[]);
    let no = |verb: &str| format!("\"Tiny\" does not support {verb}");
    let table = [
        ("/api/generate", json!({ "model": "Tiny" }), 400, no("generate")),
        ("/api/generate", json!({ "model": "Tiny", "keep_alive": "5m" }), 400, no("generate")),
        (
            "/api/generate",
            json!({ "model": "Tiny", "prompt": "x", "keep_alive": 0 }),
            400,
            no("generate"),
        ),
        ("/api/chat", json!({ "model": "Tiny" }), 400, no("chat")),
        ("/api/chat", json!({ "model": "Tiny", "keep_alive": -1 }), 400, no("chat")),
        (
            "/api/chat",
            json!({ "model": "Tiny", "messages": [{}], "keep_alive": 0 }),
            400,
            no("chat"),
        ),
        (
            "/api/generate",
            json!({ "model": "nope", "keep_alive": 0 }),
            404,
            "model 'nope' not found".to_owned(),
        ),
        (
            "/api/chat",
            json!({ "model": "nope", "keep_alive": 0 }),
            404,
            "model 'nope' not found".to_owned(),
        ),
        ("/api/generate", json!({}), 404, "model '' not found".to_owned()),
        ("/api/chat", json!({}), 400, "model is required".to_owned()),
    ];
    for (path, body, status, text) in table {
        fails(&daemon, path, &body, status, &text);
    }
}

#[test]
fn a_deleted_model_stays_in_memory_until_it_expires() {
    let daemon = tiny(&[]);
    let body = json!({ "model": "tiny", "input": "a" });
    ok(&daemon, "/api/embed", &body);
    let before = get(&daemon, "/api/ps")["models"][0].take();
    let reply = send(&daemon, "DELETE", "/api/delete", &json!({ "model": "tiny" }));
    assert_eq!(reply, (200, Value::Null));
    let after = get(&daemon, "/api/ps")["models"][0].take();
    for key in ["name", "digest", "size", "details"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    let text = "model \"tiny\" not found, try pulling it first";
    fails(&daemon, "/api/embed", &body, 404, text);
}
