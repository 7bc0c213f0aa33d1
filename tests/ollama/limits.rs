//! What happens at the limits: of a body, of the queue, of the models and of the memory?

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use super::ask::{create, fails, files, get, loaded, make, ok, post};
use crate::support::{Daemon, http};

const BUSY: &str = "server busy, please try again.  maximum pending requests exceeded";

fn load(daemon: &Daemon, model: &str, keep_alive: &Value) {
    let body = json!({ "model": model, "input": "a", "keep_alive": keep_alive });
    ok(daemon, "/api/embed", &body);
}

/// Ollama has no limit; ours is a setting, and uploads of model files are free of it.
#[test]
fn a_body_over_the_limit_is_refused() {
    let daemon = Daemon::start(&[("VECUNA_MAX_BODY", "4KB")]);
    let large = json!({ "model": "m", "input": "a".repeat(4000) });
    let text = "the request body is larger than 4000 bytes";
    for path in ["/api/embed", "/api/embeddings", "/api/show", "/api/create"] {
        fails(&daemon, path, &large, 413, text);
    }
    let (status, answer) = post(&daemon, "/v1/embeddings", &large);
    assert_eq!((status, &answer["error"]["message"]), (413, &json!(text)));
    let body = json!({ "model": "m", "input": "a".repeat(3900) });
    assert_eq!(post(&daemon, "/api/embed", &body).0, 404);
    let digest = registry::digest_of(&[7; 10_000]);
    let blob = http(&daemon.url, "POST", &format!("/api/blobs/{digest}"), &[], &[7; 10_000]);
    assert_eq!(blob.0, 201);
}

/// One request is served and one waits. Ollama counts only those that wait for a model to be loaded.
#[test]
fn more_requests_than_the_queue_holds_are_refused_at_once() {
    let daemon = Daemon::with_all_minilm(&[("OLLAMA_MAX_QUEUE", "1")]);
    let texts = vec!["word ".repeat(200); 8];
    let body = json!({ "model": "all-minilm", "input": texts }).to_string();
    let start = Barrier::new(4);
    let ask = || {
        start.wait();
        http(&daemon.url, "POST", "/api/embed", &[], body.as_bytes())
    };
    let answers = thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>()
    });
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(status, ..)| *status == 200);
    assert_eq!((served.len(), refused.len()), (2, 2));
    for (status, headers, text) in refused {
        assert_eq!((status, text), (503, json!({ "error": BUSY }).to_string()));
        assert!(headers.contains(&("retry-after".to_owned(), "1".to_owned())), "{headers:?}");
    }
}

/// Ollama evicts the model with the shortest keep-alive; here it is the one that was used longest ago, and a pinned one
/// only when there is no other.
#[test]
fn the_model_used_longest_ago_makes_room() {
    let daemon = Daemon::start(&[("OLLAMA_MAX_LOADED_MODELS", "2")]);
    for name in ["a", "b", "c", "d"] {
        make(&daemon, name, "bert-mean", &json!({ "seed": u32::from(name.as_bytes()[0]) }));
    }
    let now = || {
        let mut loaded = loaded(&daemon);
        loaded.sort();
        loaded.concat().replace(":latest", "")
    };
    let forever = json!(-1);
    let table = [
        ("a", json!("10m"), "a"),
        ("b", json!("20m"), "ab"),
        ("a", Value::Null, "ab"),
        ("c", json!("1m"), "ac"),
        ("b", forever.clone(), "bc"),
        ("d", json!("1m"), "bd"),
        ("a", forever, "ab"),
        ("c", Value::Null, "ac"),
    ];
    for (model, keep_alive, wanted) in table {
        load(&daemon, model, &keep_alive);
        assert_eq!(now(), wanted, "after {model}");
    }
}

#[test]
fn ps_is_sorted_by_the_time_that_is_left() {
    let daemon = Daemon::start(&[]);
    for (name, keep_alive) in [("a", json!("2m")), ("b", json!(-1)), ("c", json!("9m"))] {
        make(&daemon, name, "bert-mean", &json!({ "seed": u32::from(name.as_bytes()[0]) }));
        load(&daemon, name, &keep_alive);
    }
    assert_eq!(loaded(&daemon), ["b:latest", "c:latest", "a:latest"]);
}

#[test]
fn copies_share_what_is_loaded() {
    let daemon = super::ask::tiny(&[]);
    ok(&daemon, "/api/copy", &json!({ "source": "tiny", "destination": "second" }));
    load(&daemon, "tiny", &Value::Null);
    load(&daemon, "second", &Value::Null);
    assert_eq!(loaded(&daemon), ["tiny:latest"]);
}

#[test]
fn the_memory_budget_is_kept() {
    let daemon = Daemon::start(&[]);
    let size = |daemon: &Daemon| get(daemon, "/api/ps")["models"][0]["size"].as_u64().unwrap();
    make(&daemon, "a", "bert-mean", &Value::Null);
    load(&daemon, "a", &Value::Null);
    let size = size(&daemon);
    let one_and_a_half = (size * 3 / 2).to_string();
    let daemon = Daemon::start(&[("VECUNA_MEMORY", &one_and_a_half)]);
    for name in ["a", "b"] {
        make(&daemon, name, "bert-mean", &json!({ "seed": u32::from(name.as_bytes()[0]) }));
        load(&daemon, name, &Value::Null);
        assert_eq!(loaded(&daemon), [format!("{name}:latest")]);
    }
    let daemon = Daemon::start(&[("VECUNA_MEMORY", "100KB")]);
    create(&daemon, "a", files("bert-mean"), &Value::Null);
    let (status, answer) = post(&daemon, "/api/embed", &json!({ "model": "a", "input": "a" }));
    let error = answer["error"].as_str().unwrap();
    let words = error.starts_with("model requires more memory (");
    assert!(
        status == 500 && words && error.ends_with(") than the budget allows (97.7 KiB)"),
        "{error}"
    );
}
