//! Do the cases of Ollama's own `TestEmbedding` hold for all-minilm?

use serde_json::{Value, json};

use super::ask::{cosine, ok, post, vector, vectors};
use crate::support::Daemon;

/// The first values of two texts there. Ollama computes in F16 and with tanh GELU, so they are near, not equal.
const SKY: [f32; 5] = [0.010_071_031, -0.001_759_486_5, 0.050_072_223, 0.046_929_732, 0.054_916_82];
const GRASS: [f32; 4] = [-0.009_802_706, 0.060_424_678, 0.025_257_956, -0.006_364_385_6];
const TOLERANCE: f32 = 2e-4;

const TRIPLES: [[&str; 3]; 7] = [
    ["cat", "kitten", "dog"],
    ["king", "queen", "baron"],
    ["paris", "london", "vancouver"],
    [
        "The cat is sleeping on the sofa",
        "A kitten naps on the couch",
        "The stock market fell today",
    ],
    ["How do I reset my password?", "I forgot my password", "What is the weather tomorrow?"],
    ["She plays the piano very well", "She is a skilled pianist", "He repairs old bicycles"],
    ["The train to Berlin is late", "The Berlin train is delayed", "Bread is baked every morning"],
];

fn embed(daemon: &Daemon, input: &Value, more: &Value) -> Value {
    let mut body = json!({ "model": "all-minilm", "input": input });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ok(daemon, "/api/embed", &body)
}

fn one(daemon: &Daemon, text: &str, more: &Value) -> Vec<f32> {
    let answer = embed(daemon, &json!(text), more);
    let [vector] = <[Vec<f32>; 1]>::try_from(vectors(&answer)).unwrap();
    vector
}

fn begins_with(vector: &[f32], start: &[f32]) {
    assert_eq!(vector.len(), 384);
    let worst = start.iter().zip(vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{worst}: {:?}", &vector[..start.len()]);
}

#[test]
fn literal_vectors() {
    let daemon = Daemon::with_all_minilm(&[]);
    let sky = "why is the sky blue?";
    let answer = embed(&daemon, &json!(sky), &json!({}));
    begins_with(&vectors(&answer)[0], &SKY);
    assert_eq!(answer["prompt_eval_count"], 8);
    let answer = embed(&daemon, &json!([sky, "why is the grass green?"]), &json!({}));
    begins_with(&vectors(&answer)[0], &SKY);
    begins_with(&vectors(&answer)[1], &GRASS);
    assert_eq!(answer["prompt_eval_count"], 16);
    let options = json!({ "temperature": 0, "seed": 123 });
    let body = json!({ "model": "all-minilm", "prompt": sky, "options": options });
    begins_with(&vector(&ok(&daemon, "/api/embeddings", &body)["embedding"]), &SKY);
}

#[test]
fn truncation() {
    let daemon = Daemon::with_all_minilm(&[]);
    let sky = "why is the sky blue?";
    let why = one(&daemon, "why", &json!({}));
    for truncate in [Value::Null, json!(true)] {
        let more = json!({ "truncate": truncate, "options": { "num_ctx": 3 } });
        assert!(cosine(&one(&daemon, sky, &more), &why) >= 0.999);
    }
    let boundary = one(&daemon, sky, &json!({ "options": { "num_ctx": 16 } }));
    begins_with(&boundary, &SKY);
    let texts = json!(["short", "long ".repeat(100), "medium text"]);
    let answer = embed(&daemon, &texts, &json!({ "options": { "num_ctx": 30 } }));
    assert_eq!(vectors(&answer).len(), 3);
    assert!(answer["prompt_eval_count"].as_u64().unwrap() <= 90);
    let count = |input: Value| embed(&daemon, &input, &json!({}))["prompt_eval_count"].as_i64();
    let (three, single) = (count(json!(["test", "test", "test"])), count(json!("test")));
    assert!((three.unwrap() - 3 * single.unwrap()).abs() <= 2);
    for words in [256, 512, 800] {
        assert_eq!(one(&daemon, &"word ".repeat(words), &json!({})).len(), 384);
    }
}

#[test]
fn too_long_inputs_have_a_status_and_a_reason() {
    let daemon = Daemon::with_all_minilm(&[]);
    let long = "this is a long text ".repeat(75);
    for input in [json!(long), json!(["short", long])] {
        let (truncate, options) = (false, json!({ "num_ctx": 10 }));
        let body = json!({
            "model": "all-minilm", "input": input, "truncate": truncate, "options": options,
        });
        let (status, answer) = post(&daemon, "/api/embed", &body);
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("context length"), "{answer}");
    }
}

#[test]
fn correlation() {
    let daemon = Daemon::with_all_minilm(&[]);
    let distances = |a: &[f32], b: &[f32]| {
        let differences = || a.iter().zip(b).map(|(x, y)| x - y);
        [
            -cosine(a, b),
            differences().map(|d| d * d).sum::<f32>(),
            differences().map(f32::abs).sum::<f32>(),
        ]
    };
    for triple in TRIPLES {
        let answer = embed(&daemon, &json!(triple), &json!({ "keep_alive": "10s" }));
        let [a, near, far] = <[Vec<f32>; 3]>::try_from(vectors(&answer)).unwrap();
        let pairs = distances(&a, &near).into_iter().zip(distances(&a, &far));
        assert!(pairs.clone().all(|(near, far)| near < far), "{triple:?}");
    }
}
