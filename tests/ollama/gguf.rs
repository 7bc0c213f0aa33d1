//! What is a model in a GGUF file: one that is made here, and one that Ollama has put into the store?

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::ask::{cosine, create, fails, get, lines, ok, post, statuses, tiny, upload, vectors};
use crate::support::{Daemon, checkout};

fn file(name: &str) -> Vec<u8> {
    fs::read(checkout("tests/goldens/tokenizers").join(name)).unwrap()
}

/// Checks the vectors that transformers computed from the weights of the file.
fn check_vectors(daemon: &Daemon, model: &str) {
    let golden: Value = serde_json::from_slice(&file("xlm-roberta.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    let texts: Vec<&str> = cases.iter().map(|case| case["text"].as_str().unwrap()).collect();
    let answer = ok(daemon, "/api/embed", &json!({ "model": model, "input": texts }));
    for (case, vector) in cases.iter().zip(vectors(&answer)) {
        let bytes = STANDARD.decode(case["embedding"].as_str().unwrap()).unwrap();
        let wanted = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let cosine = cosine(&wanted.collect::<Vec<f32>>(), &vector);
        assert!(cosine > 0.9999, "{}: {cosine}", case["text"]);
    }
}

#[test]
fn a_file_becomes_a_model() {
    let daemon = Daemon::start(&[]);
    // As in Ollama, a single file is taken as GGUF whatever its name.
    for (model, path) in [("one", "x.gguf"), ("two", "weights")] {
        let files = upload(&daemon, vec![(path.to_owned(), file("xlm-roberta.gguf"))]);
        let body = json!({ "model": model, "files": files, "parameters": { "num_ctx": 64 } });
        let told = lines(&daemon, "/api/create", &body);
        let told = statuses(&told);
        assert_eq!((told[0], told[told.len() - 1]), ("parsing GGUF", "success"));
        check_vectors(&daemon, model);
    }
    let told = ok(&daemon, "/api/show", &json!({ "model": "one" }));
    let details = json!({
        "parent_model": "", "format": "gguf", "family": "bert", "families": ["bert"],
        "parameter_size": "26K", "quantization_level": "Q8_0",
    });
    assert_eq!(told["details"], details);
    assert_eq!(told["capabilities"], json!(["embedding"]));
    assert_eq!(told["model_info"]["general.architecture"], "bert");
    assert_eq!(told["model_info"]["bert.pooling_type"], 2);
    let from = told["modelfile"].as_str().unwrap().lines().find(|line| line.starts_with("FROM "));
    assert!(from.unwrap().starts_with("FROM /") && from.unwrap().contains("/blobs/sha256-"));
    let listed = get(&daemon, "/api/tags");
    assert_eq!(listed["models"][0]["details"]["format"], "gguf");
    assert_eq!(get(&daemon, "/api/ps")["models"][0]["details"]["quantization_level"], "Q8_0");
    // One blob for both, and a model made of a model has it too.
    ok(&daemon, "/api/create", &json!({ "model": "three", "from": "one", "stream": false }));
    check_vectors(&daemon, "three");
}

/// A manifest as Ollama pulls it: the layer has no name, and the description says nothing of what the model can do.
#[test]
fn what_ollama_put_into_the_store_runs() {
    let daemon = tiny(&[]);
    let about = json!({
        "model_format": "gguf", "model_family": "bert", "model_families": ["bert"],
        "model_type": "22.57M", "file_type": "F16", "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let blobs =
        [about.to_string().into_bytes(), file("xlm-roberta.gguf"), br#"{"num_ctx":32}"#.to_vec()];
    let digests = blobs.map(|bytes| {
        let digest = registry::digest_of(&bytes);
        fs::write(daemon.store.join("blobs").join(digest.file_name()), &bytes).unwrap();
        (digest.to_string(), bytes.len())
    });
    let media = ["docker.container.image.v1+json", "ollama.image.model", "ollama.image.params"];
    let layer = |i: usize| {
        let media = format!("application/vnd.{}", media[i]);
        json!({ "mediaType": media, "digest": digests[i].0, "size": digests[i].1 })
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": layer(0), "layers": [layer(1), layer(2)],
    });
    let folder = daemon.store.join("manifests/registry.ollama.ai/library/bge-tiny");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("latest"), manifest.to_string()).unwrap();
    let told = ok(&daemon, "/api/show", &json!({ "model": "bge-tiny" }));
    assert_eq!(told["details"]["parameter_size"], "22.57M");
    assert_eq!(told["capabilities"], json!(["embedding"]));
    let long = "word ".repeat(100);
    let answer = ok(&daemon, "/api/embed", &json!({ "model": "bge-tiny", "input": [long] }));
    assert_eq!(answer["prompt_eval_count"], 32);
    // What Ollama gives for XLM-R through this route has no length of 1.
    let answer = ok(&daemon, "/api/embeddings", &json!({ "model": "bge-tiny", "prompt": "sky" }));
    let vector: Vec<f64> = serde_json::from_value(answer["embedding"].clone()).unwrap();
    assert!(vector.iter().map(|x| x * x).sum::<f64>() > 2.0);
}

#[test]
fn what_is_no_model_is_refused() {
    let daemon = Daemon::start(&[]);
    let whole = file("xlm-roberta.gguf");
    let swap = |from: &[u8], to: &[u8]| -> Vec<u8> {
        let at = whole.windows(from.len()).position(|bytes| bytes == from).unwrap();
        [&whole[..at], to, &whole[at + from.len()..]].concat()
    };
    for (bytes, text) in [
        (b"not a model".to_vec(), "supplied file was not in GGUF format"),
        (whole[..40_000].to_vec(), "does not lie in the file"),
        (swap(b"bert", b"burt"), "architecture 'burt' cannot run in this version"),
        (
            swap(b"blk.1.ffn_up.weight", b"blk.1.ffn_uq.weight"),
            "with 'blk.1.ffn_uq.weight' cannot run",
        ),
        (swap(b"t5", b"t6"), "tokenizer 't6' cannot run in this version"),
    ] {
        let files = upload(&daemon, vec![("x.gguf".to_owned(), bytes)]);
        let body = json!({ "model": "x", "files": files, "stream": false });
        let (status, answer) = post(&daemon, "/api/create", &body);
        let told = answer["error"].as_str().unwrap_or_default();
        assert!(status == 400 && told.contains(text), "{text}: {status} {answer}");
        assert_eq!(post(&daemon, "/api/show", &json!({ "model": "x" })).0, 404);
    }
    let two = vec![("x.gguf".to_owned(), whole.clone()), ("y.gguf".to_owned(), whole)];
    let body = json!({ "model": "x", "files": upload(&daemon, two) });
    fails(&daemon, "/api/create", &body, 400, "a GGUF file is a whole model: 'files' names more");
    create(&daemon, "x", vec![("x.gguf".to_owned(), file("gemma.gguf"))], &Value::Null);
}
