//! What do `/api/pull` and `/api/push` tell, and in which order?

use serde_json::{Value, json};

use super::ask::{fails, files, get, keys, lines, ok, post};
use super::hub;
use crate::support::Daemon;

const MODEL: &str = "hf.co/tiny/bert";
const MISSING: &str = "pull model manifest: file does not exist";

/// Returns the status of a line, or `file` where it tells of one.
fn kind(line: &Value) -> &str {
    if line["total"].is_u64() { "file" } else { line["status"].as_str().unwrap() }
}

#[test]
fn progress_comes_in_order_and_a_second_pull_finds_everything() {
    let daemon = hub::daemon("bert-mean");
    let count = files("bert-mean").len();
    for _ in 0..2 {
        let told = lines(&daemon, "/api/pull", &json!({ "model": MODEL }));
        let mut kinds: Vec<&str> = told.iter().map(kind).collect();
        kinds.dedup();
        // The second line is ours: where the files come from.
        let wanted = [
            "pulling manifest",
            "pulling from hub tiny/bert",
            "file",
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ];
        assert_eq!(kinds, wanted);
        let files: Vec<&Value> = told.iter().filter(|line| kind(line) == "file").collect();
        for line in &files {
            check_progress(line);
        }
        // In Ollama a small file may have no line at all, and no last line that says it is complete.
        let complete = files.iter().filter(|line| line["completed"] == line["total"]).count();
        // What is here already is told blob by blob: the description is one of them.
        assert!(complete >= count, "{told:?}");
    }
    let answer = ok(&daemon, "/api/embed", &json!({ "model": MODEL, "input": "a" }));
    assert_eq!(answer["prompt_eval_count"], 3);
}

/// A file whose digest the hub does not tell goes by its path.
fn check_progress(line: &Value) {
    let known = line["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let status = line["status"].as_str().unwrap();
    match known {
        Some(hex) => assert_eq!(status, format!("pulling {}", &hex[..12])),
        None => assert!(status.starts_with("pulling ") && status.contains(".json"), "{line}"),
    }
    let fields = ["status", "digest", "total", "completed"];
    let wanted: Vec<&str> = fields.into_iter().filter(|key| !line[key].is_null()).collect();
    assert_eq!(keys(line), wanted);
    assert!(line["completed"].as_u64().unwrap_or(1) <= line["total"].as_u64().unwrap(), "{line}");
}

#[test]
fn without_a_stream_only_the_end_is_told() {
    let daemon = hub::daemon("bert-mean");
    for model in [MODEL, "HF.co/Tiny/BERT:latest"] {
        let body = json!({ "name": model, "stream": false, "insecure": true, "username": "u" });
        assert_eq!(post(&daemon, "/api/pull", &body), (200, json!({ "status": "success" })));
    }
    let models = get(&daemon, "/api/tags")["models"].take();
    assert_eq!(models.as_array().unwrap().len(), 1, "one spelling: {models}");
}

#[test]
fn a_model_that_is_nowhere_is_an_error_line_or_a_500() {
    let daemon = hub::daemon("bert-mean");
    // The first name is looked up at the hub; where the second could be is not known. What follows Ollama's words is
    // ours: who has no such model.
    for model in ["hf.co/tiny/nope", "no-such-model"] {
        let told = lines(&daemon, "/api/pull", &json!({ "model": model }));
        assert_eq!(told[0], json!({ "status": "pulling manifest" }));
        assert_eq!(told.len(), 2, "{told:?}");
        let body = json!({ "model": model, "stream": false });
        let answer = post(&daemon, "/api/pull", &body);
        assert_eq!(answer, (500, told[1].clone()), "{model}");
        assert!(told[1]["error"].as_str().unwrap().starts_with(MISSING), "{told:?}");
    }
    for model in ["", "a b"] {
        fails(&daemon, "/api/pull", &json!({ "model": model }), 400, "invalid model name");
    }
}

#[test]
fn create_pulls_what_it_is_made_of() {
    let daemon = hub::daemon("bert-mean");
    let told = lines(&daemon, "/api/create", &json!({ "model": "mine", "from": MODEL }));
    let kinds: Vec<&str> = told.iter().map(kind).collect();
    assert_eq!((kinds[0], *kinds.last().unwrap()), ("pulling manifest", "success"));
    ok(&daemon, "/api/embed", &json!({ "model": "mine", "input": "a" }));
}

/// What a push to a registry tells is checked with registries, in `store/registries.rs`.
#[test]
fn a_push_that_cannot_be_is_told_in_the_stream() {
    let daemon = Daemon::start(&[]);
    let missing = "model 'nope:latest' not found";
    let unqualified = "unqualified name: registry.ollama.ai/library/a b:latest";
    let told = lines(&daemon, "/api/push", &json!({ "model": "nope" }));
    let statuses = ["retrieving manifest", "couldn't retrieve manifest"];
    assert_eq!(told[..2], statuses.map(|status| json!({ "status": status })));
    assert_eq!(told[2], json!({ "error": missing }));
    let told = lines(&daemon, "/api/push", &json!({ "name": "a b" }));
    assert_eq!(told, [json!({ "error": unqualified })]);
    for (model, text) in [("nope", missing), ("a b", unqualified)] {
        let body = json!({ "model": model, "stream": false });
        fails(&daemon, "/api/push", &body, 500, text);
    }
    fails(&daemon, "/api/push", &json!({}), 400, "model is required");
}
