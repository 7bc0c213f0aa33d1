//! Are the vectors of the real all-MiniLM-L6-v2 those of sentence-transformers, all the way through HTTP?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "gguf/convert.rs"]
mod convert;
#[path = "gguf/vocabulary.rs"]
mod vocabulary;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use candle_core::quantized::{GgmlDType, gguf_file};
use modelfiles::Name;
use registry::Store;
use serde_json::{Value, json};

use crate::support::{Daemon, checkout, folder, http, real_store};

/// Both sides compute in f32 and sum in different orders; f64 is within 3e-7 of the goldens.
const TOLERANCE: f64 = 1e-5;

fn cases() -> Vec<Value> {
    let path = checkout("tests/goldens/all-minilm.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    golden["cases"].as_array().unwrap().clone()
}

fn text(case: &Value) -> String {
    let times = case["repeat"].as_u64().unwrap_or(1);
    case["text"].as_str().unwrap().repeat(usize::try_from(times).unwrap())
}

fn vector(case: &Value) -> Vec<f64> {
    let bytes = STANDARD.decode(case["embedding"].as_str().unwrap()).unwrap();
    bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

/// Makes the model compute in a precision, whatever this processor would choose.
fn set_precision(daemon: &Daemon, precision: &str) {
    let body = json!({
        "model": "all-minilm", "from": "all-minilm", "stream": false, "parameters": { "precision": precision }
    });
    let (status, _, text) =
        http(&daemon.url, "POST", "/api/create", &[], body.to_string().as_bytes());
    assert_eq!(status, 200, "{text}");
}

fn embed(daemon: &Daemon, input: &Value) -> Value {
    let body = json!({ "model": "all-minilm", "input": input }).to_string();
    let (status, _, text) = http(&daemon.url, "POST", "/api/embed", &[], body.as_bytes());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn compare(case: &Value, answer: &Value, index: usize) {
    let got: Vec<f64> = serde_json::from_value(answer["embeddings"][index].clone()).unwrap();
    let want = vector(case);
    assert_eq!(got.len(), want.len());
    let worst = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= TOLERANCE, "{}: {worst:e}", case["text"]);
    let said = &answer["inputs"][index];
    assert_eq!(said["tokens"], json!(case["ids"].as_array().unwrap().len()), "{}", case["text"]);
    assert_eq!(said["truncated"], json!(case["tokens"].is_u64()), "{}", case["text"]);
}

/// Checks the least of the cosines with the goldens, and their mean.
fn keeps(cases: &[Value], answer: &Value, least: f64, mean: f64, what: &str) {
    let cosine = |(index, case): (usize, &Value)| -> f64 {
        let got: Vec<f64> = serde_json::from_value(answer["embeddings"][index].clone()).unwrap();
        got.iter().zip(vector(case)).map(|(a, b)| a * b).sum()
    };
    let cosines: Vec<f64> = cases.iter().enumerate().map(cosine).collect();
    let lowest = cosines.iter().copied().fold(f64::INFINITY, f64::min);
    let average = cosines.iter().sum::<f64>() / cosines.len() as f64;
    assert!(lowest >= least && average >= mean, "{what}: {lowest} {average}");
}

#[test]
fn every_text_in_one_batch_and_alone() {
    let daemon = Daemon::with_all_minilm(&[]);
    set_precision(&daemon, "f32");
    let cases = cases();
    assert!(cases.len() >= 64);
    let texts: Vec<String> = cases.iter().map(text).collect();
    let batch = embed(&daemon, &json!(texts));
    for (index, case) in cases.iter().enumerate() {
        compare(case, &batch, index);
        // An empty string alone is no input at all, by Ollama's contract; as the only element of a list it is one.
        compare(case, &embed(&daemon, &json!([text(case)])), 0);
    }
}

/// Goldens hold odd texts too: a single emoji, a thousand times one word. On prose, cosines are higher.
#[test]
fn narrower_numbers_keep_the_direction() {
    let daemon = Daemon::with_all_minilm(&[]);
    let cases = cases();
    let texts: Vec<String> = cases.iter().map(text).collect();
    for (precision, least, mean) in [("bf16", 0.9999, 0.99995), ("int8", 0.99, 0.998)] {
        set_precision(&daemon, precision);
        let answer = embed(&daemon, &json!(texts));
        keeps(&cases, &answer, least, mean, precision);
        let (_, _, shown) = http(&daemon.url, "GET", "/api/ps", &[], b"");
        assert!(shown.contains(&format!(r#""precision":"{precision}""#)), "{shown}");
    }
}

#[test]
fn the_numbers_that_ollama_publishes() {
    let daemon = Daemon::with_all_minilm(&[]);
    set_precision(&daemon, "f32");
    let answer = embed(&daemon, &json!("why is the sky blue?"));
    assert_eq!(answer["prompt_eval_count"], 8);
    let start = [0.010071031, -0.0017594865, 0.050072223];
    for (i, want) in start.iter().enumerate() {
        let got = answer["embeddings"][0][i].as_f64().unwrap();
        // Ollama's come from half-precision weights and the tanh form of GELU.
        assert!((got - want).abs() <= 2e-4, "{got} {want}");
    }
}

/// Makes `all-minilm` of a GGUF file, with the limit that Ollama's has.
fn create(daemon: &Daemon, bytes: &[u8]) {
    let digest = registry::digest_of(bytes).to_string();
    let route = format!("/api/blobs/{digest}");
    assert_eq!(http(&daemon.url, "POST", &route, &[], bytes).0, 201);
    let parameters = json!({ "num_ctx": 256, "precision": "f32" });
    let body = json!({
        "model": "all-minilm", "files": { "x.gguf": digest }, "parameters": parameters, "stream": false
    });
    let (status, _, text) =
        http(&daemon.url, "POST", "/api/create", &[], body.to_string().as_bytes());
    assert_eq!(status, 200, "{text}");
}

#[test]
fn a_gguf_file_gives_the_same_vectors() {
    let store = Store::open(real_store()).unwrap();
    let stored = store.find(&Name::parse("all-minilm").unwrap()).unwrap();
    let source = convert::Source::read(&store.files(&stored).unwrap());
    let mut target = convert::convert(&source, "bert");
    target.set("bert.pooling_type", gguf_file::Value::U32(1));
    let (daemon, folder) = (Daemon::start(&[]), folder());
    let cases = cases();
    let texts: Vec<String> = cases.iter().map(text).collect();
    for (dtype, name, least, mean) in [
        (GgmlDType::F32, "F32", 0.999_999, 0.999_999),
        (GgmlDType::F16, "F16", 0.999_99, 0.999_999),
        (GgmlDType::Q8_0, "Q8_0", 0.998, 0.9996),
        // So small a model does not bear four bits in every matrix.
        (GgmlDType::Q4_0, "Q4_0", 0.85, 0.94),
    ] {
        let path = folder.path().join(name);
        target.write(&path, dtype);
        create(&daemon, &std::fs::read(path).unwrap());
        let answer = embed(&daemon, &json!(texts));
        for (index, case) in cases.iter().enumerate() {
            if dtype == GgmlDType::F32 {
                compare(case, &answer, index);
            }
            let tokens = &answer["inputs"][index]["tokens"];
            assert_eq!(*tokens, json!(case["ids"].as_array().unwrap().len()), "{}", case["text"]);
        }
        keeps(&cases, &answer, least, mean, name);
        let (_, _, shown) = http(&daemon.url, "GET", "/api/ps", &[], b"");
        let details =
            r#""format":"gguf","family":"bert","families":["bert"],"parameter_size":"22.57M""#;
        assert!(shown.contains(details), "{shown}");
        assert!(shown.contains(&format!(r#""quantization_level":"{name}""#)), "{shown}");
    }
}
