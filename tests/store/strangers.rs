//! Does a store that others filled, or nobody may write, still serve?

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use super::hub::Hub;
use super::machine::{Machine, Outcome};
use super::models::small;
use super::space::in_own_mounts;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Writes a model as Ollama has it: one GGUF file, a licence, a description.
fn ollama_model(machine: &Machine, name: &str) {
    let put = |text: &str| {
        let digest = registry::digest_of(text.as_bytes());
        write(&machine.models().join("blobs").join(digest.file_name()), text);
        (digest.to_string(), text.len())
    };
    let layer = |(digest, size): (String, usize), media: &str| json!({ "mediaType": format!("application/vnd.{media}"), "digest": digest, "size": size });
    let about = r#"{"model_format":"gguf","model_family":"bert","model_families":["bert"],"model_type":"23M","file_type":"F16"}"#;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": layer(put(about), "docker.container.image.v1+json"),
        "layers": [
            layer(put("GGUF\u{3}"), "ollama.image.model"),
            layer(put("Apache"), "ollama.image.license"),
        ],
    });
    let path = machine.models().join("manifests/registry.ollama.ai/library").join(name);
    write(&path.join("latest"), &manifest.to_string());
}

#[test]
fn models_of_ollama_are_listed_and_say_why_they_do_not_run() {
    let hub = Hub::start(&[]);
    let machine = Machine::new(&hub);
    ollama_model(&machine, "minilm-gguf");
    assert_eq!(machine.list(), ["minilm-gguf:latest"]);
    let shown = machine.run("show minilm-gguf").done();
    assert!(shown.contains("bert") && shown.contains("Apache"), "{shown}");
    let text = machine.run("run minilm-gguf hello").complaint();
    assert_eq!(text, "Error: model.gguf: ends within its header");
    machine.run("cp minilm-gguf other").done();
    machine.run("rm minilm-gguf").done();
    assert_eq!(
        (machine.list(), machine.entries("blobs").len()),
        (vec!["other:latest".to_owned()], 3)
    );
}

#[test]
fn junk_does_no_harm() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    let vector = machine.vector("hf.co/o/r");
    let zeros = "0".repeat(64);
    let junk = [
        "blobs/.DS_Store".to_owned(),
        "blobs/sha256-short".to_owned(),
        format!("blobs/sha256-{zeros}-partial-0"),
        format!("blobs/sha256-{zeros}/inside"),
        "manifests/.DS_Store".to_owned(),
        "manifests/hf.co/too-high".to_owned(),
        "manifests/hf.co/o/r/.hidden".to_owned(),
        "manifests/hf.co/o/r/deep/down".to_owned(),
        "manifests/hf.co/o/r/not json".to_owned(),
        "staging/blob-old".to_owned(),
        "notes.txt".to_owned(),
    ];
    for path in &junk {
        write(&machine.models().join(path), "junk");
    }
    assert_eq!(machine.list(), ["hf.co/o/r:latest"]);
    // A daemon tidies up when it starts.
    let daemon = machine.daemon();
    drop(daemon);
    machine.run("pull hf.co/o/r").done();
    assert_eq!(machine.vector("hf.co/o/r"), vector);
    machine.run("rm hf.co/o/r").done();
    for path in &junk {
        assert!(machine.models().join(path).exists(), "{path} is not ours to remove");
    }
}

#[test]
fn a_store_that_cannot_be_written() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean")), ("o/s@main", small("bert-plain"))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    let vector = machine.vector("hf.co/o/r");
    let command = env!("CARGO_BIN_EXE_vecuna");
    let look = format!("{command} list; {command} run hf.co/o/r hello; {command} verify");
    let change = ["rm hf.co/o/r", "cp hf.co/o/r copy", "prune", "pull hf.co/o/s"];
    let change = change.map(|line| format!("{command} {line}")).join("; ");
    let script = format!("{look}; touch models/written 2>/dev/null || {{ {change}; }}");
    let read_only = "mount --bind models models && mount -o remount,bind,ro models";
    let outcome = match in_own_mounts(&machine, read_only, &script) {
        Some(outcome) => outcome,
        // A user who may not mount is held back by modes.
        None => by_modes(&machine, &script),
    };
    assert!(outcome.stdout.contains("hf.co/o/r:latest"), "{outcome:?}");
    assert!(outcome.stdout.contains(&vector), "{outcome:?}");
    // Modes do not hold back root, who may still not be allowed to mount.
    let is_writable = machine.models().join("written").exists();
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("Error: "));
    assert_eq!(errors.count(), if is_writable { 0 } else { 4 }, "{outcome:?}");
    assert!(
        is_writable || outcome.stderr.contains("Error: the store cannot be written: "),
        "{outcome:?}"
    );
    assert!(outcome.stdout.contains(" 0 damaged"), "{outcome:?}");
    machine.whole("hf.co/o/r");
}

/// Runs a script while nothing in the store may be written.
fn by_modes(machine: &Machine, script: &str) -> Outcome {
    let folders: Vec<_> = ["", "manifests/hf.co/o/r", "blobs", "staging", "manifests"]
        .map(|folder| machine.models().join(folder))
        .into();
    let set = |mode| {
        for folder in &folders {
            fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        }
    };
    set(0o555);
    let outcome = machine.sh(script).output().unwrap().into();
    set(0o755);
    outcome
}
