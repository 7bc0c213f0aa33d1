//! What do images become, and which are refused?

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::ask::{cosine, fails, get, make, ok, tiny, vector, vectors};
use crate::support::{Daemon, checkout};

fn image(name: &str) -> String {
    STANDARD.encode(fs::read(checkout("tests/goldens/images").join(name)).unwrap())
}

/// Returns the vector that sentence-transformers gives an image.
fn wanted(name: &str) -> Vec<f32> {
    let golden = fs::read(checkout("tests/goldens/models/clip.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let rows = golden["images"]["all"].as_array().unwrap();
    let row = rows.iter().find(|row| row["file"] == name).unwrap();
    let bytes = STANDARD.decode(row["embedding"].as_str().unwrap()).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn images_stand_behind_the_texts() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "clip", "clip", &json!({ "precision": "f32" }));
    let url = format!("data:image/png;base64,{}", image("tall.png"));
    let body = json!({ "model": "clip", "input": "the sky", "images": [image("wide.png"), url] });
    let answer = ok(&daemon, "/api/embed", &body);
    let found = vectors(&answer);
    assert_eq!(found.len(), 3);
    assert!(cosine(&found[1], &wanted("wide.png")) > 0.999_99);
    assert!(cosine(&found[2], &wanted("tall.png")) > 0.999_99);
    // 16 patches and a row before them.
    assert_eq!(answer["inputs"][1], json!({ "tokens": 17, "truncated": false }));
    let alone = json!({ "model": "clip", "images": [image("wide.png")] });
    assert_eq!(vector(&ok(&daemon, "/api/embed", &alone)["embeddings"][0]), found[1]);
    let show = ok(&daemon, "/api/show", &json!({ "model": "clip" }));
    assert_eq!(show["capabilities"], json!(["embedding", "vision"]));
    assert_eq!(get(&daemon, "/api/tags")["models"][0]["name"], "clip:latest");
}

#[test]
fn what_is_no_image_is_refused() {
    let daemon = tiny(&[]);
    let body = |model: &str, image: &str| json!({ "model": model, "images": [image] });
    let text = "\"tiny:latest\" does not support images";
    fails(&daemon, "/api/embed", &body("tiny", &image("wide.png")), 400, text);
    make(&daemon, "clip", "clip", &Value::Null);
    let text = "input 0: the image cannot be read: it is no PNG, JPEG, WebP or GIF file";
    fails(&daemon, "/api/embed", &body("clip", "aGVsbG8="), 400, text);
    let text = "image 0 is no base64: Invalid symbol 63, offset 0.";
    fails(&daemon, "/api/embed", &body("clip", "?"), 400, text);
    let text =
        "json: cannot unmarshal number into Go struct field EmbedRequest.images of type []string";
    fails(&daemon, "/api/embed", &json!({ "model": "clip", "images": 5 }), 400, text);
}
