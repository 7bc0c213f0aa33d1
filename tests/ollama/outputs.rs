//! What can be had of a model beyond Ollama's vectors: other outputs, prompts, encodings, chunks, tokens.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::ask::{cosine, fails, make, ok, vector, vectors};
use crate::support::{Daemon, checkout};

/// Returns the golden cases of a model that are not repeated texts.
fn cases(model: &str, list: &str) -> Vec<Value> {
    let path = checkout(&format!("tests/goldens/models/{model}.json"));
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = golden.pointer(list).unwrap().as_array().unwrap();
    cases.iter().filter(|case| case.get("repeat").is_none()).cloned().collect()
}

fn texts(cases: &[Value]) -> Vec<&str> {
    cases.iter().map(|case| case["text"].as_str().unwrap()).collect()
}

fn floats(text: &Value) -> Vec<f32> {
    let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn close(wanted: &[f32], found: &[f32]) {
    assert_eq!(wanted.len(), found.len());
    for (wanted, found) in wanted.iter().zip(found) {
        assert!((wanted - found).abs() < 2e-5, "{found} for {wanted}");
    }
}

/// Checks `{"indices":[…],"values":[…]}` against pairs.
fn close_sparse(wanted: &Value, found: &Value) {
    let pairs: Vec<(u64, f32)> = serde_json::from_value(wanted.clone()).unwrap();
    let (ids, weights): (Vec<u64>, Vec<f32>) = pairs.into_iter().unzip();
    assert_eq!(json!(ids), found["indices"]);
    close(&weights, &vector(&found["values"]));
}

#[test]
fn dense_sparse_and_multivector_of_one_request() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "m3", "bge-m3", &json!({ "precision": "f32" }));
    let cases = cases("bge-m3", "/cases");
    let mut asked = json!({
        "model": "m3", "input": texts(&cases), "outputs": ["dense", "sparse", "multivector"],
    });
    let answer = ok(&daemon, "/api/embed", &asked);
    for (index, case) in cases.iter().enumerate() {
        let wanted = floats(&case["embedding"]);
        close(&wanted, &vector(&answer["embeddings"][index]));
        close_sparse(&case["sparse"], &answer["sparse"][index]);
        let rows = answer["multivectors"][index].as_array().unwrap();
        let found: Vec<f32> = rows.iter().flat_map(vector).collect();
        close(&floats(&case["multivector"]), &found);
    }
    asked["outputs"] = json!(["sparse"]);
    let sparse = ok(&daemon, "/api/embed", &asked);
    assert_eq!((&sparse["embeddings"], &sparse["sparse"]), (&json!([]), &answer["sparse"]));
    assert!(sparse.get("multivectors").is_none());
    // Who says nothing gets what Ollama would give.
    asked["outputs"] = Value::Null;
    let plain = ok(&daemon, "/api/embed", &asked);
    assert_eq!(plain["embeddings"], answer["embeddings"]);
    assert!(plain.get("sparse").is_none());
    let shown = ok(&daemon, "/api/show", &json!({ "model": "m3" }));
    assert_eq!(shown["model_info"]["vecuna.outputs"], "dense, sparse, multivector");
}

#[test]
fn a_sparse_model_gives_what_it_has() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "splade", "splade-bert", &json!({ "precision": "f32" }));
    let cases = cases("splade-bert", "/cases");
    let mut asked = json!({ "model": "splade", "input": texts(&cases) });
    let answer = ok(&daemon, "/api/embed", &asked);
    assert_eq!(answer["embeddings"], json!([]));
    for (index, case) in cases.iter().enumerate() {
        close_sparse(&case["sparse"], &answer["sparse"][index]);
    }
    asked["outputs"] = json!(["dense"]);
    let words = "\"splade:latest\" does not support dense output";
    fails(&daemon, "/api/embed", &asked, 400, words);
    let old = json!({ "model": "splade", "prompt": "x" });
    fails(&daemon, "/api/embeddings", &old, 500, words);
}

#[test]
fn queries_and_documents() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "two", "bert-router", &json!({ "precision": "f32" }));
    make(&daemon, "prompts", "bert-prompts", &json!({ "precision": "f32" }));
    for (model, golden) in [("two", "bert-router"), ("prompts", "bert-prompts")] {
        for task in ["query", "document"] {
            let cases = cases(golden, &format!("/tasks/{task}"));
            let asked = json!({ "model": model, "input": texts(&cases), "task": task });
            let found = vectors(&ok(&daemon, "/api/embed", &asked));
            for (case, found) in cases.iter().zip(found) {
                close(&floats(&case["embedding"]), &found);
            }
        }
    }
    // By name, and as it is written: the same text before the text.
    let ask = |more: Value| {
        let mut asked = json!({ "model": "prompts", "input": "why?" });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ok(&daemon, "/api/embed", &asked)
    };
    let named = ask(json!({ "prompt_name": "query" }));
    assert_eq!(named["embeddings"], ask(json!({ "prompt": "Question: " }))["embeddings"]);
    assert_eq!(named["embeddings"], ask(json!({ "task": "query" }))["embeddings"]);
    let bare = ask(json!({ "prompt": "" }));
    assert!(bare["prompt_eval_count"].as_u64() < named["prompt_eval_count"].as_u64());
    for (field, value, words) in [
        ("prompt_name", "nope", "prompt 'nope' not found: the model has document, query, topic"),
        ("task", "nope", "task 'nope' not found: there are query, document"),
    ] {
        fails(
            &daemon,
            "/api/embed",
            &json!({ "model": "prompts", "input": "why?", field: value }),
            400,
            words,
        );
    }
    let shown = ok(&daemon, "/api/show", &json!({ "model": "prompts" }));
    assert_eq!(shown["model_info"]["vecuna.prompt.query"], "Question: ");
}

/// Jina v3 has weights of its own for tasks; queries and documents are the ones of its retrieval.
#[test]
fn tasks_that_a_model_has_weights_for() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "jina", "jina3-hub", &json!({ "precision": "f32" }));
    let tasks = [
        ("text-matching", "text-matching"),
        ("Retrieval.query", "retrieval.query"),
        ("query", "retrieval.query"),
        ("document", "retrieval.passage"),
    ];
    for (task, golden) in tasks {
        let cases = cases("jina3-hub", &format!("/adapters/{golden}"));
        let asked = json!({ "model": "jina", "input": texts(&cases), "task": task });
        for (case, found) in cases.iter().zip(vectors(&ok(&daemon, "/api/embed", &asked))) {
            close(&floats(&case["embedding"]), &found);
        }
    }
}

/// Tokens that the model does not know count nowhere, and a text of such alone has vectors too.
#[test]
fn parts_of_texts_for_a_static_model() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "rows", "model2vec", &Value::Null);
    let text = "the sky is ☃ blue. it is very ☃ blue. and so on and on.";
    let asked = json!({
        "model": "rows", "input": ["☃", text], "chunk": "late", "chunk_tokens": 8,
    });
    let late = ok(&daemon, "/api/embed", &asked);
    let found = vectors(&late);
    let mut place = 1;
    assert!(found[0].iter().all(|x| *x == 0.0));
    for chunk in late["inputs"][1]["chunks"].as_array().unwrap() {
        let at = |key: &str| usize::try_from(chunk[key].as_u64().unwrap()).unwrap();
        let part: String = text.chars().skip(at("start")).take(at("end") - at("start")).collect();
        let alone = ok(&daemon, "/api/embed", &json!({ "model": "rows", "input": part }));
        assert!(cosine(&vectors(&alone)[0], &found[place]) > 0.9999, "{part}");
        place += 1;
    }
    assert_eq!(place, found.len());
}

#[test]
fn vectors_in_other_forms() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "plain", "bert-plain", &json!({ "precision": "f32" }));
    let ask = |field: &str, value: Value| {
        let asked = json!({ "model": "plain", "input": "why is the sky blue?", field: value });
        ok(&daemon, "/api/embed", &asked)["embeddings"][0].clone()
    };
    let unit = vector(&ask("normalize", json!(true)));
    assert_eq!(unit, vector(&ask("truncate", json!(true))), "the default");
    let raw = vector(&ask("normalize", json!(false)));
    assert!((cosine(&unit, &raw) - 1.0).abs() < 1e-6);
    assert!((raw.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() > 1e-2);
    let format = |name: &str| ask("encoding_format", json!(name));
    assert_eq!(floats(&format("base64")), unit);
    assert_eq!(vector(&format("float")), unit);
    for name in ["int8", "uint8"] {
        let shift = if name == "int8" { 0.0 } else { 127.5 };
        let found: Vec<f32> = vector(&format(name)).iter().map(|x| x - shift).collect();
        assert!(cosine(&unit, &found) > 0.999, "{name}");
    }
    let bits: Vec<u8> = serde_json::from_value(format("ubinary")).unwrap();
    let signs = (0..unit.len()).all(|i| (bits[i / 8] >> (7 - i % 8) & 1 == 1) == (unit[i] > 0.0));
    assert!(signs && bits.len() == unit.len() / 8);
    let signed: Vec<i16> = serde_json::from_value(format("binary")).unwrap();
    assert!(signed.iter().zip(&bits).all(|(signed, bits)| signed + 128 == i16::from(*bits)));
    let known = "float, base64, int8, uint8, binary and ubinary";
    for (field, value, known) in [
        ("encoding_format", json!("float64"), known),
        ("outputs", json!(["tokens"]), "dense, sparse and multivector"),
        ("chunk", json!("some"), "true, pool, each and late"),
    ] {
        let asked = json!({ "model": "plain", "input": "x", field: value });
        let value = if value.is_array() { &value[0] } else { &value };
        let value = value.as_str().unwrap();
        let words = format!("invalid value '{value}' for '{field}': there are {known}");
        fails(&daemon, "/api/embed", &asked, 400, &words);
    }
}

#[test]
fn long_texts_are_divided() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "mean", "bert-mean", &json!({ "precision": "f32" }));
    make(&daemon, "cls", "xlm-roberta", &Value::Null);
    let text = "Why is the sky blue? The Straße is long. ".repeat(40);
    let ask = |input: Value, chunk: Value| {
        let asked = json!({ "model": "mean", "input": input, "chunk": chunk, "truncate": false });
        ok(&daemon, "/api/embed", &asked)
    };
    let each = ask(json!(["short", &text]), json!("each"));
    let chunks = each["inputs"][1]["chunks"].as_array().unwrap();
    assert!(chunks.len() > 3 && each["inputs"][0]["chunks"] == json!([{ "start": 0, "end": 5 }]));
    assert_eq!(each["embeddings"].as_array().unwrap().len(), 1 + chunks.len());
    assert!(each["inputs"].as_array().unwrap().iter().all(|input| input["truncated"] == false));
    let characters: Vec<char> = text.chars().collect();
    for (index, chunk) in chunks.iter().enumerate() {
        let place = |key: &str| usize::try_from(chunk[key].as_u64().unwrap()).unwrap();
        let part: String = characters[place("start")..place("end")].iter().collect();
        assert!(part.ends_with(['?', '.']), "{part}");
        let alone = ok(&daemon, "/api/embed", &json!({ "model": "mean", "input": part }));
        assert_eq!(alone["embeddings"][0], each["embeddings"][1 + index]);
    }
    let pooled = ask(json!(["short", &text]), json!(true));
    let found = vectors(&pooled);
    assert_eq!((found.len(), &found[0]), (2, &vector(&each["embeddings"][0])));
    assert_eq!(pooled["inputs"], each["inputs"]);
    let parts = &vectors(&each)[1..];
    let sum: Vec<f32> =
        (0..found[1].len()).map(|i| parts.iter().map(|part| part[i]).sum()).collect();
    assert!(cosine(&sum, &found[1]) > 0.99, "weighted by tokens it is near the plain mean");
    let late = ask(json!("Why is the sky blue? Nobody knows."), json!("late"));
    assert_eq!(late["inputs"][0]["chunks"], json!([{ "start": 0, "end": 34 }]));
    let whole = json!({ "model": "mean", "input": "Why is the sky blue? Nobody knows.", "truncate": false });
    assert_eq!(late["embeddings"], ok(&daemon, "/api/embed", &whole)["embeddings"]);
    let mut asked = json!({ "model": "mean", "input": &text, "chunk": "late", "chunk_tokens": 16 });
    let late = ok(&daemon, "/api/embed", &asked);
    let chunks = late["inputs"][0]["chunks"].as_array().unwrap();
    assert_eq!(chunks.len(), late["embeddings"].as_array().unwrap().len());
    assert!(chunks.len() > 20);
    asked["model"] = json!("cls");
    let words = "\"cls:latest\" does not support late chunking, which takes the mean of tokens";
    fails(&daemon, "/api/embed", &asked, 400, words);
    asked["model"] = json!("mean");
    asked["chunk_tokens"] = json!(2);
    let words = "chunk_tokens 2 leaves no room beside the prompt and special tokens";
    asked["chunk"] = json!("each");
    fails(&daemon, "/api/embed", &asked, 400, words);
    asked["chunk_tokens"] = json!(0);
    fails(&daemon, "/api/embed", &asked, 400, "chunk_tokens must be at least 1");
}

#[test]
fn tokens_and_the_way_back() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "prompts", "bert-prompts", &Value::Null);
    let cases = cases("bert-prompts", "/tasks/query");
    let mut asked = json!({ "model": "prompts", "input": texts(&cases), "task": "query" });
    let answer = ok(&daemon, "/api/tokenize", &asked);
    for (case, found) in cases.iter().zip(answer["tokens"].as_array().unwrap()) {
        assert_eq!(&case["ids"], found);
    }
    assert_eq!((&answer["pieces"][0][0], &answer["model"]), (&json!("[CLS]"), &json!("prompts")));
    asked["add_special_tokens"] = json!(false);
    asked["input"] = json!("the sky");
    asked["prompt"] = json!("");
    let bare = ok(&daemon, "/api/tokenize", &asked);
    let back = json!({ "model": "prompts", "tokens": bare["tokens"] });
    assert_eq!(ok(&daemon, "/api/detokenize", &back)["texts"], json!(["the sky"]));
    let back =
        json!({ "model": "prompts", "tokens": answer["tokens"][0], "skip_special_tokens": false });
    let text = ok(&daemon, "/api/detokenize", &back)["texts"][0].as_str().unwrap().to_owned();
    assert!(text.starts_with("[CLS]") && text.ends_with("[SEP]"), "{text}");
    for (path, body, words) in [
        ("/api/tokenize", json!({ "model": "prompts" }), "input is required"),
        ("/api/tokenize", json!({ "model": "prompts", "input": [[1]] }), "invalid input type"),
        ("/api/tokenize", json!({ "input": "x" }), "model is required"),
        ("/api/detokenize", json!({ "model": "prompts" }), "tokens is required"),
        ("/api/detokenize", json!({ "model": "prompts", "tokens": "x" }), "invalid input type"),
        (
            "/api/detokenize",
            json!({ "model": "prompts", "tokens": [999_999] }),
            "token 999999 is outside the vocabulary",
        ),
    ] {
        fails(&daemon, path, &body, 400, words);
    }
}
