//! What do `/api/tags` and `/api/ps` tell of each model, in which order and of which type?

use std::fs;

use serde_json::{Value, json};

use super::ask::{get, keys, make, ok, tiny};
use crate::support::Daemon;

/// Returns the only row of a list.
fn row(daemon: &Daemon, path: &str) -> Value {
    let list = get(daemon, path);
    assert_eq!(keys(&list), ["models"]);
    let [row] = list["models"].as_array().unwrap().as_slice() else { panic!("{list}") };
    row.clone()
}

/// The values of `details`, which here come from a file with 27840 weights in F32.
fn details() -> Value {
    json!({
        "parent_model": "", "format": "safetensors", "family": "bert", "families": ["bert"],
        "parameter_size": "28K", "quantization_level": "F32",
    })
}

#[test]
fn tags() {
    let daemon = tiny(&[]);
    let row = row(&daemon, "/api/tags");
    let fields = ["name", "model", "modified_at", "size", "digest", "details", "capabilities"];
    assert_eq!(keys(&row), fields);
    assert_eq!((&row["name"], &row["model"]), (&json!("tiny:latest"), &json!("tiny:latest")));
    assert_eq!(row["capabilities"], json!(["embedding"]));
    let mut wanted = details();
    wanted["context_length"] = json!(64);
    wanted["embedding_length"] = json!(32);
    assert_eq!(row["details"], wanted);
    assert_eq!(keys(&row["details"]), keys(&wanted));
    let path = daemon.store.join("manifests/registry.ollama.ai/library/tiny/latest");
    let bytes = fs::read(path).unwrap();
    assert_eq!(row["digest"], registry::digest_of(&bytes).hex());
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(keys(&manifest), ["schemaVersion", "mediaType", "artifactType", "config", "layers"]);
    let layers = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    let size: u64 = layers.map(|layer| layer["size"].as_u64().unwrap()).sum();
    assert_eq!(row["size"], size);
    let moment = row["modified_at"].as_str().unwrap();
    assert!(moment.ends_with('Z') && moment.as_bytes()[10] == b'T', "{moment}");
}

#[test]
fn ps() {
    let daemon = tiny(&[]);
    assert_eq!(get(&daemon, "/api/ps"), json!({ "models": [] }));
    ok(&daemon, "/api/embed", &json!({ "model": "TINY" }));
    let row = row(&daemon, "/api/ps");
    let fields =
        ["name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"];
    // What runs comes behind what Ollama tells.
    assert_eq!(keys(&row), [&fields[..], &["precision"]].concat());
    assert!(["f32", "bf16"].contains(&row["precision"].as_str().unwrap()), "{row}");
    assert_eq!((&row["name"], &row["model"]), (&json!("tiny:latest"), &json!("tiny:latest")));
    assert_eq!(row["details"], details());
    assert_eq!(keys(&row["details"]), keys(&details()));
    assert_eq!((&row["size_vram"], &row["context_length"]), (&json!(0), &json!(64)));
    let stored = get(&daemon, "/api/tags")["models"][0].take();
    assert_eq!(row["digest"], stored["digest"]);
    assert!(row["size"].as_u64().unwrap() > 100_000, "weights and buffers: {row}");
}

#[test]
fn the_context_length_is_the_one_that_is_used() {
    let daemon = Daemon::start(&[("OLLAMA_CONTEXT_LENGTH", "48")]);
    make(&daemon, "default", "bert-mean", &Value::Null);
    make(&daemon, "small", "bert-mean", &json!({ "num_ctx": 16 }));
    make(&daemon, "large", "bert-mean", &json!({ "num_ctx": 100_000 }));
    let long = "why ".repeat(100);
    for (model, tokens) in [("default", 48), ("small", 16), ("large", 64)] {
        let answer = ok(&daemon, "/api/embed", &json!({ "model": model, "input": long }));
        assert_eq!(answer["prompt_eval_count"], tokens, "{model}");
        let models = get(&daemon, "/api/ps")["models"].take();
        let name = format!("{model}:latest");
        let row = models.as_array().unwrap().iter().find(|row| row["name"] == name.as_str());
        assert_eq!(row.unwrap()["context_length"], tokens, "{model}");
    }
    let body = json!({ "model": "small", "input": long, "options": { "num_ctx": 20 } });
    assert_eq!(ok(&daemon, "/api/embed", &body)["prompt_eval_count"], 20, "the request goes first");
}

#[test]
fn the_newest_model_comes_first() {
    let daemon = tiny(&[]);
    make(&daemon, "B", "bert-mean", &json!({ "seed": 1 }));
    make(&daemon, "a/m:c", "bert-mean", &json!({ "seed": 2 }));
    make(&daemon, "tiny", "bert-mean", &json!({ "seed": 3 }));
    let models = get(&daemon, "/api/tags")["models"].take();
    let names: Vec<&str> =
        models.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tiny:latest", "a/m:c", "B:latest"]);
}
