//! What do `/api/embed` and `/api/embeddings` answer, beyond what was recorded?

use serde_json::{Value, json};

use super::ask::{cosine, create, fails, files, keys, loaded, make, ok, tiny, vector, vectors};
use crate::support::{Daemon, http};

const NO_ROOM: &str = "input after truncation exceeds maximum context length";
const NOTHING_LEFT: &str = "input exceeds maximum context length and cannot be truncated further";
const TOO_LONG: &str = "the input length exceeds the context length";

#[test]
fn answers_say_how_long_and_how_much() {
    let daemon = tiny(&[]);
    let answer = ok(&daemon, "/api/embed", &json!({ "model": "TINY", "input": ["a", ""] }));
    // `inputs` is ours; Ollama's clients pass over it.
    let fields =
        ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count", "inputs"];
    assert_eq!(keys(&answer), fields);
    assert_eq!((&answer["model"], &answer["prompt_eval_count"]), (&json!("TINY"), &json!(5)));
    let inputs = json!([{ "tokens": 3, "truncated": false }, { "tokens": 2, "truncated": false }]);
    assert_eq!(answer["inputs"], inputs);
    let nanoseconds = |key: &str| answer[key].as_u64().unwrap();
    assert!(nanoseconds("load_duration") > 0);
    assert!(nanoseconds("total_duration") >= nanoseconds("load_duration"));
    let blank = |text: &str| {
        vectors(&ok(&daemon, "/api/embed", &json!({ "model": "tiny", "input": [text] })))
    };
    assert_eq!((blank(""), blank("")), (blank(" "), blank("\n")));
}

#[test]
fn nothing_to_embed_only_loads() {
    for input in [Value::Null, json!(""), json!([])] {
        let daemon = tiny(&[]);
        let body = json!({ "model": "tiny", "input": input });
        assert_eq!(ok(&daemon, "/api/embed", &body), json!({ "model": "tiny", "embeddings": [] }));
        assert_eq!(loaded(&daemon), ["tiny:latest"]);
    }
    let daemon = tiny(&[]);
    let answer = ok(&daemon, "/api/embeddings", &json!({ "model": "tiny", "prompt": "" }));
    assert_eq!(answer, json!({ "embedding": [] }));
    assert_eq!(loaded(&daemon), ["tiny:latest"]);
}

/// `num_ctx` with and without truncation, by the tokens that are left or the error.
#[test]
fn num_ctx_limits_each_text() {
    let daemon = tiny(&[]);
    let table = [
        (json!(0), Err(NOTHING_LEFT), Err(TOO_LONG)),
        (json!(1), Err(NO_ROOM), Err(NO_ROOM)),
        (json!(2), Err(NO_ROOM), Err(NO_ROOM)),
        (json!(3), Ok(3), Err(TOO_LONG)),
        (json!(4), Ok(4), Err(TOO_LONG)),
        (json!(9), Ok(9), Err(TOO_LONG)),
        (json!(10), Ok(10), Ok(10)),
        (json!(16), Ok(10), Ok(10)),
        (json!(30.7), Ok(10), Ok(10)),
        (json!(100_000), Ok(10), Ok(10)),
        (json!(-1), Ok(10), Ok(10)),
        (json!(null), Ok(10), Ok(10)),
    ];
    for (num_ctx, cut, refused) in table {
        for (truncate, wanted) in [(None, &cut), (Some(true), &cut), (Some(false), &refused)] {
            let options = json!({ "num_ctx": num_ctx });
            let input = ["why is the sky blue?"];
            let body = json!({
                "model": "tiny", "input": input, "truncate": truncate, "options": options,
            });
            match wanted {
                Err(text) => fails(&daemon, "/api/embed", &body, 400, text),
                Ok(tokens) => {
                    let answer = ok(&daemon, "/api/embed", &body);
                    let told = json!({ "tokens": tokens, "truncated": *tokens < 10 });
                    assert_eq!(answer["inputs"], json!([told]), "{body}");
                }
            }
        }
    }
}

/// Ollama loses what is over 2048 tokens and cuts at `num_batch`; here the model's own limit is the only other one.
#[test]
fn num_batch_cuts_nothing() {
    let daemon = tiny(&[]);
    let options = json!({ "num_batch": 4 });
    let body = json!({ "model": "tiny", "input": "why is the sky blue?", "options": options });
    assert_eq!(ok(&daemon, "/api/embed", &body)["prompt_eval_count"], 10);
}

#[test]
fn dimensions_keep_the_first_values() {
    let daemon = tiny(&[]);
    let embed = |dimensions: Value| {
        let body = json!({ "model": "tiny", "input": "a", "dimensions": dimensions });
        vectors(&ok(&daemon, "/api/embed", &body)).remove(0)
    };
    let whole = embed(Value::Null);
    for dimensions in [0, -1, 32, 100] {
        assert_eq!(embed(json!(dimensions)), whole, "{dimensions}");
    }
    let four = embed(json!(4));
    assert!(four.len() == 4 && cosine(&four, &whole[..4]) > 0.999_999);
    assert!((cosine(&four, &four) - 1.0).abs() < 1e-6);
    assert!((four.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
    for (bad, kind) in [(json!("4"), "string"), (json!(1.5), "number 1.5")] {
        let text = format!(
            "json: cannot unmarshal {kind} into Go struct field EmbedRequest.dimensions of type int"
        );
        let body = json!({ "model": "tiny", "input": "a", "dimensions": bad });
        fails(&daemon, "/api/embed", &body, 400, &text);
    }
}

#[test]
fn a_batch_is_what_its_texts_are_alone() {
    let daemon = tiny(&[]);
    let texts: Vec<String> = (0..50).map(|n| format!("{} the sky {n}", "why ".repeat(n))).collect();
    let together = vectors(&ok(&daemon, "/api/embed", &json!({ "model": "tiny", "input": texts })));
    for (text, vector) in texts.iter().zip(&together) {
        let body = json!({ "model": "tiny", "input": text });
        let alone = vectors(&ok(&daemon, "/api/embed", &body)).remove(0);
        let worst = alone.iter().zip(vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{text}: {worst}");
    }
    let long = "why ".repeat(100);
    let body = json!({ "model": "tiny", "input": ["a", long, "b"], "truncate": false });
    fails(&daemon, "/api/embed", &body, 400, TOO_LONG);
}

#[test]
fn the_older_route_gives_what_the_pipeline_gives() {
    let daemon = tiny(&[]);
    make(&daemon, "raw", "bert-mean", &json!({ "normalize": false }));
    let norm = |model: &str, path: &str, key: &str| {
        let body = json!({ "model": model, "prompt": "hello world", "input": "hello world" });
        let answer = ok(&daemon, path, &body);
        let first = if key == "embeddings" { &answer[key][0] } else { &answer[key] };
        vector(first).iter().map(|x| x * x).sum::<f32>().sqrt()
    };
    assert!((norm("tiny", "/api/embeddings", "embedding") - 1.0).abs() < 1e-6);
    assert!((norm("raw", "/api/embeddings", "embedding") - 1.0).abs() > 1e-3);
    assert!((norm("raw", "/api/embed", "embeddings") - 1.0).abs() < 1e-6);
    let body = br#"{"model":"tiny","prompt":"hello world"}"#;
    let (_, _, wide) = http(&daemon.url, "POST", "/api/embeddings", &[], body);
    let body = br#"{"model":"tiny","input":"hello world"}"#;
    let (_, _, narrow) = http(&daemon.url, "POST", "/api/embed", &[], body);
    let digits = |text: &str| {
        let values = text.split(['[', ',', ']']).filter(|part| part.contains("0."));
        values.map(|value| value.trim_start_matches('-').len()).max().unwrap()
    };
    assert!(digits(&wide) > 17 && digits(&narrow) < 15, "{wide} {narrow}");
}

/// Ollama writes a NaN as an all-zero vector and says nothing.
#[test]
fn what_is_no_number_is_an_error_that_names_the_input() {
    /// Where the table of tokens stands after the header, the size of a row, and the row of `a`.
    const TABLE: usize = 8704;
    const ROW: usize = 32 * 4;
    const A: usize = 37;
    let daemon = Daemon::start(&[]);
    let mut files = files("bert-mean");
    let (_, weights) = files.iter_mut().find(|(path, _)| path == "model.safetensors").unwrap();
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let start = 8 + header + TABLE + A * ROW;
    weights[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    create(&daemon, "nan", files, &Value::Null);
    let text = "the embedding of input 1 contains NaN or Inf values";
    let body = json!({ "model": "nan", "input": ["sky", "a"] });
    fails(&daemon, "/api/embed", &body, 500, text);
    let body = json!({ "model": "nan", "input": "sky" });
    assert_eq!(vectors(&ok(&daemon, "/api/embed", &body)).len(), 1);
}
