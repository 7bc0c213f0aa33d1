//! What does `/api/create` make, of another model and of uploaded files?

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::ask::{fails, files, keys, lines, make, ok, post, statuses, tiny, upload, vectors};
use crate::support::{Daemon, checkout, http};

/// Golden vectors came from PyTorch, which sums in another order.
const TOLERANCE: f32 = 1e-5;

/// Makes `new` of `from` with further fields, and tells what it has become.
fn derive(daemon: &Daemon, new: &str, from: &str, more: &Value) -> Value {
    let mut body = json!({ "model": new, "from": from, "stream": false });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(ok(daemon, "/api/create", &body), json!({ "status": "success" }));
    ok(daemon, "/api/show", &json!({ "model": new }))
}

/// Returns the key and value of each line of `parameters`.
fn parameters(told: &Value) -> Vec<(String, String)> {
    let lines = told["parameters"].as_str().unwrap_or_default().lines();
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
        .collect()
}

#[test]
fn uploaded_files_give_their_golden_vectors() {
    let daemon = Daemon::start(&[]);
    for model in ["bert-mean", "bert-bin", "bert-sharded", "roberta", "distilbert", "xlm-roberta"] {
        make(&daemon, model, model, &json!({ "precision": "f32" }));
        let path = checkout("tests/goldens/models").join(format!("{model}.json"));
        let golden: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        let text = |case: &Value| {
            case["text"].as_str().unwrap().repeat(case["repeat"].as_u64().unwrap_or(1) as usize)
        };
        let texts: Vec<String> = cases.iter().map(text).collect();
        let answer = ok(&daemon, "/api/embed", &json!({ "model": model, "input": texts }));
        for (index, (case, vector)) in cases.iter().zip(vectors(&answer)).enumerate() {
            let bytes = STANDARD.decode(case["embedding"].as_str().unwrap()).unwrap();
            let wanted = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            let worst = wanted.zip(&vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= TOLERANCE, "{model} {index}: {worst}");
            let inputs = &answer["inputs"][index];
            assert_eq!(inputs["tokens"], case["ids"].as_array().unwrap().len());
            assert_eq!(inputs["truncated"], case["tokens"].is_u64());
        }
    }
}

#[test]
fn progress_comes_in_order() {
    let daemon = Daemon::start(&[]);
    let files = upload(&daemon, files("bert-mean"));
    let body = json!({ "model": "tiny", "files": files, "parameters": { "num_ctx": 16 } });
    let told = lines(&daemon, "/api/create", &body);
    let (new, old, end) =
        ("creating new layer", "using existing layer", ["writing manifest", "success"]);
    assert_eq!(statuses(&told), ["converting model", old, new, old, end[0], end[1]]);
    let told = lines(&daemon, "/api/create", &json!({ "model": "same", "from": "tiny" }));
    assert_eq!(statuses(&told), [old, end[0], end[1]]);
    let body =
        json!({ "model": "other", "from": "TINY", "system": "s", "parameters": { "seed": 1 } });
    let told = lines(&daemon, "/api/create", &body);
    assert_eq!(statuses(&told), [old, new, old, end[0], end[1]]);
    assert!(told.iter().all(|line| keys(line) == ["status"]));
}

#[test]
fn parameters_are_merged_and_lists_replaced() {
    let daemon = tiny(&[]);
    let given = json!({ "temperature": 0.5, "stop": ["USER:", "ASSISTANT:"], "num_ctx": 16 });
    derive(&daemon, "one", "tiny", &json!({ "parameters": given }));
    let changed = json!({ "parameters": { "temperature": 0.75, "stop": ["<|end|>"] } });
    let two = derive(&daemon, "two", "one", &changed);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let wanted = [pair("num_ctx", "16"), pair("stop", "\"<|end|>\""), pair("temperature", "0.75")];
    assert_eq!(parameters(&two), wanted);
    // Without a word they stay as they are, and the model that they came from does too.
    assert_eq!(parameters(&derive(&daemon, "three", "two", &json!({}))), wanted);
    let one = ok(&daemon, "/api/show", &json!({ "model": "one" }));
    assert_eq!(parameters(&one).len(), 4);
}

#[test]
fn texts_are_replaced_and_removed() {
    let daemon = tiny(&[]);
    let more = json!({ "system": "first", "template": "{{ .System }}", "license": "MIT" });
    let first = derive(&daemon, "m", "tiny", &more);
    let of = |told: &Value| ["system", "template", "license"].map(|key| told[key].clone());
    assert_eq!(of(&first), [json!("first"), json!("{{ .System }}"), json!("MIT")]);
    let second = derive(&daemon, "m", "m", &json!({ "system": "", "license": ["A", "B"] }));
    assert_eq!(of(&second), [Value::Null, json!("{{ .System }}"), json!("A\nB")]);
    // What nobody needs any more is gone from the store.
    let gone = registry::digest_of(b"first");
    assert_eq!(http(&daemon.url, "HEAD", &format!("/api/blobs/{gone}"), &[], b"").0, 404);
    ok(&daemon, "/api/embed", &json!({ "model": "m", "input": "a" }));
}

#[test]
fn what_cannot_be_made_is_refused_with_a_reason() {
    let daemon = tiny(&[]);
    let one = upload(&daemon, vec![("x".to_owned(), b"not a model".to_vec())])["x"].take();
    let weights = "model.safetensors";
    let absent = format!("sha256:{}", "0".repeat(64));
    let table = [
        (json!({ "model": "x" }), "neither 'from' or 'files' was specified"),
        (json!({ "from": "tiny" }), "invalid model name"),
        (json!({ "model": "x", "files": {} }), "unknown type"),
        (json!({ "model": "x", "files": { weights: "" } }), "invalid digest format"),
        (json!({ "model": "x", "files": { weights: "sha256:1" } }), "invalid digest format"),
        (json!({ "model": "x", "files": { "/a": one } }), "file path must be relative"),
        (json!({ "model": "x", "files": { "a/../../b": one } }), "file path must be relative"),
        (
            json!({ "model": "x", "from": "tiny", "parameters": { "num_ctx": "a" } }),
            "option \"num_ctx\" must be of type integer",
        ),
        (
            json!({ "model": "x", "from": "tiny", "license": [5] }),
            "json: cannot unmarshal number into Go struct field CreateRequest.license of type string",
        ),
        // Not yet: weights are stored as they came.
        (
            json!({ "model": "x", "from": "tiny", "quantize": "q8_0" }),
            "quantize is not supported: weights are stored as they are, set PARAMETER precision instead",
        ),
        (
            json!({ "model": "x", "files": { "a.json": one, "b.json": one } }),
            "no safetensors or PyTorch file among 'files'",
        ),
    ];
    for (body, text) in table {
        fails(&daemon, "/api/create", &body, 400, text);
        assert_eq!(post(&daemon, "/api/show", &json!({ "model": "x" })).0, 404);
    }
    let told =
        lines(&daemon, "/api/create", &json!({ "model": "x", "files": { weights: absent } }));
    assert_eq!(told[0], json!({ "status": "converting model" }));
    // Ollama tells the path of the blob in its store.
    assert_eq!(told[1], json!({ "error": format!("blob {absent} was not uploaded") }));
    let told = lines(&daemon, "/api/create", &json!({ "model": "x", "files": { weights: one } }));
    assert!(told.len() == 2 && told[1]["error"].is_string(), "{told:?}");
    let body = json!({ "model": "x", "files": { weights: one }, "stream": false });
    let body = body.to_string();
    let (status, headers, _) = http(&daemon.url, "POST", "/api/create", &[], body.as_bytes());
    assert_eq!(status, 400);
    assert!(headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
}

/// Files of an architecture that cannot run are stored; only running them fails.
#[test]
fn an_unknown_architecture_is_refused_by_name() {
    let daemon = Daemon::start(&[]);
    let mut files = files("bert-plain");
    let (_, config) = files.iter_mut().find(|(path, _)| path == "config.json").unwrap();
    *config = String::from_utf8_lossy(config).replace("\"bert\"", "\"quux\"").into_bytes();
    let body = json!({ "model": "odd", "files": upload(&daemon, files), "stream": false });
    let words = "architecture 'quux' cannot run in this version";
    fails(&daemon, "/api/create", &body, 400, words);
}
