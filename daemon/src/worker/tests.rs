//! What does the service do when the thread of a model panics, and when its queue is full?

use std::{path::Path, time::Duration};

use axum::{Router, body::Body};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use registry::{Layer, Manifest, Store, media};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::{Config, api, app::App};

/// Requests for so many dimensions make the test's worker panic.
const FATAL_DIMENSIONS: usize = 13;
/// Requests for so many dimensions take their time.
const SLOW_DIMENSIONS: usize = 14;

#[expect(
    clippy::disallowed_methods,
    reason = "a model that takes its time; this is its own thread"
)]
fn moody(embedder: &Embedder, texts: &[(&Tokens, Output)]) -> Result<Answers, engine::Error> {
    let wants = |dimensions| texts.iter().any(|(_, output)| output.dimensions == Some(dimensions));
    assert!(!wants(FATAL_DIMENSIONS), "injected");
    if wants(SLOW_DIMENSIONS) {
        std::thread::sleep(Duration::from_millis(50));
    }
    embedder.run(texts)
}

/// Puts a tiny model into a store.
fn fill(store: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/models/bert-mean");
    let store = Store::open(store).unwrap();
    let put = |path: &str| {
        Layer::file(path, store.put_bytes(&std::fs::read(source.join(path)).unwrap()).unwrap())
    };
    let layers = ["config.json", "model.safetensors", "tokenizer.json"].map(put).to_vec();
    let config = Layer::new(media::CONFIG, store.put_bytes(b"{}").unwrap());
    store
        .commit(&modelfiles::Name::parse("tiny").unwrap(), &Manifest::new(config, layers))
        .unwrap();
}

/// Starts a service with the tiny model and a moody worker.
fn service(folder: &Path) -> Router {
    fill(folder);
    let models = folder.to_str().unwrap().to_owned();
    let variable = move |name: &str| match name {
        "VECUNA_MODELS" => Some(models.clone()),
        "VECUNA_MAX_QUEUE_TOKENS" => Some("100".to_owned()),
        _ => None,
    };
    let config = Config::load(&variable).unwrap();
    api::router(App::start_with(config, moody).unwrap())
}

async fn call(router: &Router, path: &str, body: &Value) -> (StatusCode, Value) {
    let method = if body.is_null() { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_string()));
    let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn embed(router: &Router, input: Value, dimensions: usize) -> (StatusCode, Value) {
    let body = json!({ "model": "tiny", "input": input, "dimensions": dimensions });
    call(router, "/api/embed", &body).await
}

async fn loaded(router: &Router) -> usize {
    call(router, "/api/ps", &Value::Null).await.1["models"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_panic_unloads_the_model_and_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let router = service(folder.path());
    for _ in 0..2 {
        let (status, before) = embed(&router, json!("a text"), 4).await;
        assert_eq!((status, loaded(&router).await), (StatusCode::OK, 1), "{before}");
        let (status, answer) = embed(&router, json!(["a", "b"]), FATAL_DIMENSIONS).await;
        let told = json!({ "error": "the model stopped; the next request loads it again" });
        assert_eq!((status, answer), (StatusCode::INTERNAL_SERVER_ERROR, told));
        assert_eq!(loaded(&router).await, 0);
        let (status, after) = embed(&router, json!("a text"), 4).await;
        assert_eq!((status, &after["embeddings"]), (StatusCode::OK, &before["embeddings"]));
    }
}

#[tokio::test]
async fn who_waits_behind_a_panic_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let router = service(folder.path());
    embed(&router, json!("a"), 4).await;
    let slow = embed(&router, json!(["a", "b"]), SLOW_DIMENSIONS);
    let fatal = embed(&router, json!(["a", "b"]), FATAL_DIMENSIONS);
    let behind = embed(&router, json!(["a", "b"]), 4);
    let (slow, fatal, behind) = tokio::join!(slow, fatal, behind);
    assert_eq!(fatal.0, StatusCode::INTERNAL_SERVER_ERROR);
    // Whether they share its batch is a matter of microseconds; that they are answered is not.
    for (status, answer) in [slow, behind] {
        assert!([StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR].contains(&status), "{answer}");
    }
    assert_eq!(embed(&router, json!("a"), 4).await.0, StatusCode::OK);
}

#[tokio::test]
async fn tokens_that_wait_are_limited_but_no_request_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let router = service(folder.path());
    let texts = vec!["all the words of a text that has more than a few of them"; 200];
    let (status, answer) = embed(&router, json!(texts), 4).await;
    assert_eq!((status, answer["embeddings"].as_array().unwrap().len()), (StatusCode::OK, 200));
    // One is computed and one waits, whose tokens are more than the limit.
    let one = || embed(&router, json!(&texts[..20]), SLOW_DIMENSIONS);
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    let (served, refused): (Vec<_>, Vec<_>) =
        [a, b, c, d].into_iter().partition(|(status, _)| *status == StatusCode::OK);
    assert!(!served.is_empty() && !refused.is_empty(), "{} were served", served.len());
    let busy = "server busy, please try again.  maximum pending requests exceeded";
    for (status, answer) in refused {
        assert_eq!((status, &answer["error"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(busy)));
    }
}
