//! Does a pull do no more than it must: nothing for what is here, and one GGUF file of many?

use std::fs;
use std::time::{Duration, SystemTime};

use registry::{GGUF_PATH, Settings, annotation, digest_of, media};

use crate::hub::{Files, Hub, Listing};
use crate::world::{World, model, settings, weights};

const WEIGHTS: &str = "model.safetensors";

#[tokio::test]
async fn a_model_that_is_here_costs_one_question() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    let first = world.pull("o/r").await.model().clone();
    assert_eq!(first.manifest.annotations[annotation::SOURCE], "hf.co/o/r");
    assert_eq!(first.manifest.annotations[annotation::REVISION], hub.commit);
    let before = hub.seen("").len();
    let told = world.pull("o/r").await;
    assert_eq!((told.model().digest, told.model().modified), (first.digest, first.modified));
    assert_eq!(hub.seen("").len(), before + 1);
    assert_eq!(told.statuses().last(), Some(&"success"));
    let whole = told.lines.iter().filter(|line| line.digest.is_some());
    assert!(whole.clone().count() >= 6 && whole.clone().all(|line| line.completed == line.total));
}

#[tokio::test]
async fn a_blob_that_was_touched_is_read_again() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    world.pull("o/r").await.model();
    let path = world.store.blob_path(&digest_of(&weights()));
    // Of the right size, and not of the right bytes.
    fs::write(&path, vec![0; weights().len()]).unwrap();
    fs::File::open(&path)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(5))
        .unwrap();
    let told = world.pull("o/r").await;
    assert_eq!(world.read(told.model(), WEIGHTS), weights());
    assert_eq!(hub.seen(WEIGHTS).len(), 2);
}

#[tokio::test]
async fn a_dry_run_tells_and_fetches_nothing() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    let told = world.rehearse("o/r").await;
    assert!(matches!(told.outcome, Ok(None)), "{told:?}");
    let weights = told.lines.iter().find(|line| line.status == WEIGHTS).unwrap();
    assert_eq!((weights.total, weights.completed), (Some(1_200_000), Some(0)));
    let last = told.statuses().last().map(|&status| status.to_owned()).unwrap();
    assert_eq!(last, "would fetch 1.2 MB of 1.2 MB from hub o/r");
    assert!(hub.seen(WEIGHTS).is_empty() && world.entries("blobs").is_empty());
    assert!(world.store.list().unwrap().is_empty());
    world.pull("o/r").await.model();
    let told = world.rehearse("o/r").await;
    assert_eq!(told.statuses().last(), Some(&"nothing to fetch from hub o/r"));
}

#[tokio::test]
async fn no_model_is_larger_than_may_be() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::new(Settings { limit: Some(1_000_000), ..settings(&hub.endpoint) });
    let error = world.refused("o/r").await;
    assert!(error.contains("1000000 may be pulled"), "{error}");
    assert!(hub.seen(WEIGHTS).is_empty());
    let hub = Hub::start(model(), Listing::Bare).await;
    let world = World::new(Settings { limit: Some(1_000_000), ..settings(&hub.endpoint) });
    let error = world.refused("o/r").await;
    assert!(error.contains("1000000 may be pulled"), "{error}");
}

#[tokio::test]
async fn gguf_files_of_the_hub() {
    let files = Files::default()
        .with("README.md", "x")
        .with("m-Q4_K_M.gguf", "four")
        .with("m-Q8_0.gguf", "eight")
        .with("m-f16.gguf", "sixteen");
    let hub = Hub::start(files, Listing::Full).await;
    let world = World::of(&hub);
    for (name, want) in
        [("hf.co/o/r", "eight"), ("hf.co/o/r:Q4_K_M", "four"), ("o/r:f16", "sixteen")]
    {
        let told = world.pull(name).await;
        assert_eq!(world.read(told.model(), GGUF_PATH), want.as_bytes(), "{name}");
        let layer = told.model().manifest.layers_of(media::GGUF).next().unwrap();
        assert_eq!(layer.name, None, "as in Ollama's manifests");
    }
    let error = world.pull("o/r:Q2_K").await.outcome.unwrap_err().to_string();
    assert!(error.contains("no GGUF file of Q2_K; it has F16, Q4_K_M, Q8_0"), "{error}");
}
