//! What happens when a disk gives back other bytes than it was given?

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::hub::Hub;
use super::machine::Machine;
use super::models::{WEIGHTS, padded, small};

const MODEL: &str = "hf.co/o/r";

/// Flips one bit; it is in the padding of weights, and in the text of other files.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_pull_repairs_whatever_is_damaged() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    let (stored, vector) = (machine.whole(MODEL), machine.vector(MODEL));
    for layer in stored.manifest.blobs() {
        flip(&machine.store().blob_path(&layer.digest));
    }
    hub.forget();
    machine.run("pull hf.co/o/r").done();
    assert_eq!(machine.whole(MODEL).digest, stored.digest);
    assert_eq!((hub.seen(WEIGHTS).len(), machine.vector(MODEL)), (1, vector));
    hub.forget();
    machine.run("pull hf.co/o/r").done();
    assert_eq!(hub.seen(WEIGHTS).len(), 0, "nothing is damaged any more");
}

/// Pulls a model, damages the blob of a file, and expects an error of whoever loads it.
fn refused(path: &str, damage: fn(&Path), want: &str) {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    damage(&machine.blob(MODEL, path));
    let text = machine.run("run hf.co/o/r hello").complaint();
    assert!(text.contains(want), "{path}: {text}");
    assert_eq!(machine.list(), ["hf.co/o/r:latest"]);
    machine.run("pull hf.co/o/r").done();
    machine.whole(MODEL);
    machine.vector(MODEL);
}

#[test]
fn a_damaged_file_is_named() {
    refused("config.json", flip, "Error: config.json: ");
    refused("modules.json", flip, "Error: modules.json: ");
    refused("tokenizer.json", flip, "Error: tokenizer.json: ");
    refused(
        WEIGHTS,
        |path| fs::write(path, vec![255; 115_336]).unwrap(),
        "Error: model.safetensors: ",
    );
}

#[test]
fn a_blob_that_is_cut_or_gone_is_named() {
    let cut = |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1000);
    refused(WEIGHTS, |path| fs::write(path, "").unwrap(), "has 0 bytes, its manifest says 115336");
    refused(WEIGHTS, |path| fs::remove_file(path).unwrap(), " is missing");
    refused("config.json", |path| fs::remove_file(path).unwrap(), " is missing");
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    cut(&machine.blob(MODEL, WEIGHTS)).unwrap();
    let text = machine.run("run hf.co/o/r hello").complaint();
    assert!(text.contains("has 1000 bytes"), "{text}");
}

#[test]
fn a_link_is_no_blob() {
    let to_elsewhere = |path: &Path| {
        let elsewhere = path.parent().unwrap().parent().unwrap().join("elsewhere");
        fs::rename(path, &elsewhere).unwrap();
        symlink(elsewhere, path).unwrap();
    };
    refused(WEIGHTS, to_elsewhere, " is missing");
    refused("config.json", to_elsewhere, " is missing");
}

#[test]
fn a_damaged_manifest_hides_its_model_only() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean")), ("o/s@main", small("bert-plain"))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    machine.run("pull hf.co/o/s").done();
    flip(&machine.models().join("manifests/hf.co/o/r/latest"));
    let manifest = machine.models().join("manifests/hf.co/o/r/latest");
    fs::write(&manifest, &fs::read(&manifest).unwrap()[..100]).unwrap();
    assert_eq!(machine.list(), ["hf.co/o/s:latest"]);
    let text = machine.run("run hf.co/o/r hello").complaint();
    assert!(text.contains("manifest of 'hf.co/o/r:latest' is damaged"), "{text}");
    machine.vector("hf.co/o/s");
    machine.run("pull hf.co/o/r").done();
    machine.vector(MODEL);
}
