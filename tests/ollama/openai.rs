//! What do the routes of OpenAI's dialect answer, beyond what was recorded?

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::ask::{get, keys, make, ok, post, tiny, vector};
use crate::support::{Daemon, http};

fn embed(daemon: &Daemon, input: &Value, more: &Value) -> Value {
    let mut body = json!({ "model": "tiny", "input": input });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ok(daemon, "/v1/embeddings", &body)
}

fn fails(daemon: &Daemon, body: &Value, status: u16, kind: &str, message: &str) {
    let error = json!({ "message": message, "type": kind, "param": null, "code": null });
    let reply = post(daemon, "/v1/embeddings", body);
    assert_eq!(reply, (status, json!({ "error": error })), "{body}");
}

#[test]
fn base64_holds_the_same_floats() {
    let daemon = tiny(&[]);
    let input = json!(["why is the sky blue?", ""]);
    let plain = embed(&daemon, &input, &json!({ "encoding_format": "FLOAT" }));
    let packed = embed(&daemon, &input, &json!({ "encoding_format": "Base64", "user": 5 }));
    assert_eq!(keys(&plain), ["object", "data", "model", "usage", "inputs"]);
    assert_eq!(keys(&plain["data"][0]), ["object", "embedding", "index"]);
    assert_eq!(plain["usage"], json!({ "prompt_tokens": 12, "total_tokens": 12 }));
    for index in 0..2 {
        let text = packed["data"][index]["embedding"].as_str().unwrap();
        let bytes = STANDARD.decode(text).unwrap();
        let floats: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(floats, vector(&plain["data"][index]["embedding"]));
        assert_eq!(plain["data"][index]["index"], index);
    }
    let four = embed(&daemon, &input, &json!({ "dimensions": 4 }));
    assert_eq!(vector(&four["data"][1]["embedding"]).len(), 4);
    // A text that is too long is always cut here.
    let more = json!({ "truncate": false, "options": { "num_ctx": 3 }, "keep_alive": "bad" });
    let long = embed(&daemon, &json!("why ".repeat(100)), &more);
    assert_eq!(long["usage"]["prompt_tokens"], 64);
}

/// Ollama refuses token ids with `invalid input type`; LangChain sends them unless told not to.
#[test]
fn token_ids_are_the_models_own() {
    let daemon = tiny(&[]);
    let of_text = embed(&daemon, &json!("why is the sky blue?"), &json!({}));
    let ids = json!([2, 164, 136, 125, 31, 21, 28, 219, 30, 3]);
    let bare = json!([164, 136, 125, 31, 21, 28, 219, 30]);
    for input in [ids.clone(), bare.clone(), json!([bare]), json!([ids])] {
        assert_eq!(embed(&daemon, &input, &json!({})), of_text, "{input}");
    }
    let two = embed(&daemon, &json!([bare, [37]]), &json!({}));
    assert_eq!(two["data"][0]["embedding"], of_text["data"][0]["embedding"]);
    assert_eq!(two["data"].as_array().unwrap().len(), 2);
    let body = json!({ "model": "tiny", "input": [300] });
    assert_eq!(post(&daemon, "/v1/embeddings", &body).0, 400, "300 is outside the vocabulary");
    for input in
        [json!([-1]), json!([1.5]), json!([1, "a"]), json!(["a", 1]), json!([["a"]]), json!({})]
    {
        let body = json!({ "model": "tiny", "input": input });
        fails(&daemon, &body, 400, "invalid_request_error", "invalid input type");
    }
}

#[test]
fn errors_have_openais_form() {
    let daemon = tiny(&[]);
    let bad = "invalid_request_error";
    let type_error = |what: &str| {
        format!("json: cannot unmarshal {what}")
            .replace("FIELD", "into Go struct field EmbedRequest")
    };
    let table = [
        (json!({ "model": "tiny" }), 400, bad, "invalid input".to_owned()),
        (json!({ "input": 5 }), 404, "not_found_error", "model '' not found".to_owned()),
        (json!({ "model": "a b", "input": 5 }), 400, bad, "invalid model name".to_owned()),
        (
            json!({ "model": "tiny", "input": "a", "dimensions": "4" }),
            400,
            bad,
            type_error("string FIELD.dimensions of type int"),
        ),
        (
            json!({ "model": "tiny", "input": "a", "encoding_format": 5 }),
            400,
            bad,
            type_error("number FIELD.encoding_format of type string"),
        ),
        (
            json!({ "model": "nope", "input": "a" }),
            404,
            "not_found_error",
            "model \"nope\" not found, try pulling it first".to_owned(),
        ),
    ];
    for (body, status, kind, message) in table {
        fails(&daemon, &body, status, kind, &message);
    }
    let (_, headers, text) = http(&daemon.url, "POST", "/v1/embeddings", &[], b"");
    assert!(
        headers
            .contains(&("content-type".to_owned(), "application/json; charset=utf-8".to_owned()))
    );
    assert!(text.contains(r#""message":"EOF""#) && !text.ends_with('\n'), "{text}");
    // Ollama's route for completions says `does not support generate`; here there is none.
    assert_eq!(http(&daemon.url, "POST", "/v1/completions", &[], b"{}").0, 404);
}

/// Ollama cannot tell of one model that has a namespace: its route takes a single segment.
#[test]
fn models_are_listed_and_found_with_their_namespaces() {
    let daemon = tiny(&[]);
    make(&daemon, "Me/second:v1", "bert-mean", &Value::Null);
    make(&daemon, "hf.co/owner/repo", "bert-mean", &Value::Null);
    let list = get(&daemon, "/v1/models");
    let rows = list["data"].as_array().unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["hf.co/owner/repo:latest", "Me/second:v1", "tiny:latest"], "newest first");
    assert_eq!(keys(&rows[0]), ["id", "object", "created", "owned_by"]);
    for (path, id, owner) in [
        ("tiny", "tiny", "library"),
        ("TINY:latest", "TINY:latest", "library"),
        ("Me/second:v1", "Me/second:v1", "Me"),
        ("me%2FSecond:v1", "me/Second:v1", "Me"),
        ("hf.co/owner/repo", "hf.co/owner/repo", "owner"),
    ] {
        let row = get(&daemon, &format!("/v1/models/{path}"));
        let wanted = (&json!(id), &json!("model"), &json!(owner));
        assert_eq!((&row["id"], &row["object"], &row["owned_by"]), wanted);
        assert!(row["created"].is_u64(), "{row}");
    }
    let (status, _, text) = http(&daemon.url, "GET", "/v1/models/me/nope", &[], b"");
    let message = "model 'me/nope:latest' not found";
    let error =
        json!({ "message": message, "type": "not_found_error", "param": null, "code": null });
    assert_eq!((status, text), (404, json!({ "error": error }).to_string() + "\n"));
}
