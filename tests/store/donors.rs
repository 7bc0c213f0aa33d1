//! Does a pull take what Hugging Face's cache or Ollama's store has already?

use std::fs;
use std::os::unix::fs::symlink;

use super::hub::Hub;
use super::machine::{Machine, Outcome};
use super::models::{WEIGHTS, padded};

#[test]
fn a_repository_comes_from_the_cache_when_the_hub_must_not_be_asked() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let machine = Machine::new(&hub);
    let root = machine.folder.path().join("huggingface/hub/models--o--r");
    fs::create_dir_all(root.join("refs")).unwrap();
    fs::create_dir_all(root.join("blobs")).unwrap();
    fs::write(root.join("refs/main"), "abcdef").unwrap();
    for (path, bytes) in padded(1) {
        let link = root.join("snapshots/abcdef").join(&path);
        let etag = registry::digest_of(&bytes).hex();
        fs::write(root.join("blobs").join(&etag), bytes).unwrap();
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let up = "../".repeat(path.matches('/').count() + 2);
        symlink(format!("{up}blobs/{etag}"), link).unwrap();
    }
    fs::write(root.join("snapshots/abcdef/README.md"), "# A model\n").unwrap();
    let offline = |line: &str| -> Outcome {
        machine.vecuna(line).env("HF_HUB_OFFLINE", "1").output().unwrap().into()
    };
    let told = offline("pull hf.co/o/r");
    assert!(told.stderr.contains("using Hugging Face's cache"), "{told:?}");
    machine.whole("hf.co/o/r");
    machine.vector("hf.co/o/r");
    let refused = offline("pull hf.co/o/other").complaint();
    assert!(refused.contains("HF_HUB_OFFLINE is set"), "{refused}");
    assert_eq!(hub.seen("").len(), 0, "nothing came over the network");
}

#[test]
fn weights_come_from_the_store_of_ollama() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let (other, machine) = (Machine::new(&hub), Machine::new(&hub));
    other.run("pull hf.co/o/r").done();
    let before = hub.seen(WEIGHTS).len();
    let mut pull = machine.vecuna("pull hf.co/o/r");
    Outcome::from(pull.env("OLLAMA_MODELS", other.models()).output().unwrap()).done();
    assert_eq!(hub.seen(WEIGHTS).len(), before);
    other.run("rm hf.co/o/r").done();
    machine.whole("hf.co/o/r");
}
