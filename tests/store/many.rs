//! Is a store of a thousand models listed while nobody notices?

use std::fs;
use std::time::{Duration, Instant};

use registry::{Layer, Manifest, Store, digest_of, media};
use serde_json::{Value, json};

use super::hub::Hub;
use super::machine::Machine;
use crate::support;

const MODELS: usize = 1000;
/// What it should take is a tenth of this; the rest is for debug builds on a busy machine.
const LIMIT: Duration = Duration::from_millis(500);

/// Writes models as if they had been pulled, but without waiting for the disk each time.
fn fill(store: &Store) {
    for number in 0..MODELS {
        let put = |text: &str| {
            let blob = (digest_of(text.as_bytes()), text.len() as u64);
            fs::write(store.root().join("blobs").join(blob.0.file_name()), text).unwrap();
            blob
        };
        let about = json!({ "model_format": "safetensors", "model_family": "bert", "model_families": ["bert"],
            "model_type": "22.71M", "file_type": "F32", "context_length": number, "capabilities": ["embedding"] });
        let config = Layer::new(media::CONFIG, put(&about.to_string()));
        let paths = [
            "config.json",
            "model.safetensors",
            "modules.json",
            "tokenizer.json",
            "1_Pooling/config.json",
        ];
        let layers = paths.map(|path| Layer::file(path, put(path)));
        let folder =
            store.root().join(format!("manifests/hf.co/owner-{}/model-{number}", number % 50));
        fs::create_dir_all(&folder).unwrap();
        let manifest = Manifest::new(config, layers.into()).to_bytes().unwrap();
        fs::write(folder.join("latest"), manifest).unwrap();
    }
}

#[test]
fn a_thousand_models_are_listed() {
    let hub = Hub::start(&[]);
    let machine = Machine::new(&hub);
    fill(&machine.store());
    let daemon = machine.daemon();
    let list = || {
        let start = Instant::now();
        let (status, _, text) = support::http(&daemon.url, "GET", "/api/tags", &[], b"");
        let elapsed = start.elapsed();
        let tags: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, tags["models"].as_array().unwrap().len()), (200, MODELS));
        elapsed
    };
    let [first, second, third] = [(); 3].map(|()| list());
    println!("{MODELS} models are listed in {first:?}, {second:?}, {third:?}");
    let start = Instant::now();
    assert_eq!(machine.store().names().unwrap().len(), MODELS);
    println!("the names take {:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(machine.store().list().unwrap().len(), MODELS);
    println!("the store itself takes {:?}", start.elapsed());
    assert!(second.min(third) < LIMIT, "{second:?} {third:?}");
}
