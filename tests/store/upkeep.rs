//! Does a person who looks after a store learn what is damaged, and get back the space that nobody needs?

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::hub::Hub;
use super::machine::{Machine, wait_until};
use super::models::{WEIGHTS, padded, small};
use crate::support::{self, Daemon};

const MODEL: &str = "hf.co/o/r";

fn ask(daemon: &Daemon, path: &str, body: &Value) -> (u16, String) {
    let (status, _, text) =
        support::http(&daemon.url, "POST", path, &[], body.to_string().as_bytes());
    (status, text)
}

/// Gives a file other bytes of the same number.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn age(path: &Path, minutes: u64) {
    let time = SystemTime::now() - Duration::from_secs(minutes * 60);
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn verify_tells_what_is_damaged_in_which_model() {
    let hub = Hub::start(&[("o/r@main", padded(1)), ("o/s@main", small("bert-plain"))]);
    let machine = Machine::new(&hub);
    for model in [MODEL, "hf.co/o/s"] {
        machine.run(&format!("pull {model}")).done();
    }
    machine.run(&format!("cp {MODEL} copy")).done();
    let told = machine.run("verify").done();
    assert!(told.starts_with("verified 3 models, ") && told.ends_with(" 0 damaged\n"), "{told}");
    let stored = machine.whole(MODEL);
    let [weights, config] = [WEIGHTS, "config.json"].map(|path| machine.blob(MODEL, path));
    damage(&weights);
    fs::remove_file(&config).unwrap();
    let outcome = machine.run("verify");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for model in ["hf.co/o/r:latest", "copy:latest"] {
        let lost = format!("{model} config.json: blob sha256:");
        let changed = format!("{model} model.safetensors: digest mismatch, ");
        assert!(outcome.stdout.contains(&lost) && outcome.stdout.contains(&changed), "{outcome:?}");
    }
    assert!(
        outcome.stdout.contains(" 4 damaged\n") && !outcome.stdout.contains("o/s"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("Error: 4 files are damaged or missing\nhint: "),
        "{outcome:?}"
    );
    assert!(fs::metadata(weights).unwrap().modified().unwrap() > stored.modified, "it is marked");
    machine.run("verify hf.co/o/s").done();
    hub.forget();
    machine.run(&format!("pull {MODEL}")).done();
    assert_eq!(hub.seen(WEIGHTS).len(), 1);
    machine.run(&format!("verify {MODEL} copy")).done();
    let text = machine.run("verify nothing").complaint();
    assert!(text.ends_with("model 'nothing:latest' not found"), "{text}");
}

#[test]
fn verify_tells_its_progress() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let machine = Machine::new(&hub);
    let daemon = machine.daemon();
    machine.run(&format!("pull {MODEL}")).done();
    let (status, text) = ask(&daemon, "/api/verify", &json!({ "model": MODEL }));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, progress) = lines.split_last().unwrap();
    let digest = registry::digest_of(&padded(1)[WEIGHTS]);
    let size = padded(1)[WEIGHTS].len();
    let done = json!({ "status": format!("verifying {}", digest.short()), "digest": digest.to_string(),
        "total": size, "completed": size });
    assert!(status == 200 && progress.contains(&done), "{text}");
    assert_eq!((&last["status"], &last["damaged"]), (&json!("verified"), &json!(0)));
    let manifest = machine.models().join("manifests/hf.co/o/r/latest");
    fs::write(manifest, "{").unwrap();
    let (status, text) = ask(&daemon, "/api/verify", &json!({ "stream": false }));
    assert_eq!((status, text.contains("\"damaged\":1")), (200, true), "{text}");
    let (status, text) = ask(&daemon, "/api/verify", &json!({ "model": "nothing" }));
    assert_eq!((status, text.as_str()), (404, r#"{"error":"model 'nothing:latest' not found"}"#));
    assert_eq!(ask(&daemon, "/api/verify", &json!({ "model": "a b" })).0, 400);
}

#[test]
fn prune_gives_back_what_nobody_needs() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    machine.run(&format!("pull {MODEL}")).done();
    assert_eq!(machine.run("prune").done(), "nothing to free\n");
    let part = machine.models().join("staging").join(registry::digest_of(b"part").file_name());
    fs::write(&part, "part").unwrap();
    let (orphan, _) = machine.store().put_bytes(b"orphan").unwrap();
    age(&machine.store().blob_path(&orphan), 2);
    let parts = "10 B: 1 partial download (4 B), 1 file of no model (6 B)\n";
    assert_eq!(machine.run("prune --dry-run").done(), format!("would free {parts}"));
    assert_eq!(machine.run("prune").done(), format!("freed {parts}"));
    assert_eq!((machine.run("prune").done().as_str(), part.exists()), ("nothing to free\n", false));
    let daemon = machine.daemon();
    let none = r#"{"count":0,"bytes":0}"#;
    let want = format!(r#"{{"partials":{none},"temporary":{none},"orphans":{none}}}"#);
    assert_eq!(ask(&daemon, "/api/prune", &json!({ "dry_run": true })), (200, want));
    machine.whole(MODEL);
    fs::remove_file(machine.models().join("vecuna.json")).unwrap();
    let outcome = machine.run("prune");
    let note = "note: another program made this store";
    assert!(outcome.stderr.starts_with(note) && outcome.code == Some(0), "{outcome:?}");
}

#[test]
fn prune_does_not_rob_a_pull() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let machine = Machine::new(&hub);
    hub.hold(WEIGHTS, Some(1_000_000));
    let pull = machine.begin(&format!("pull {MODEL}"));
    hub.wait_until_held();
    wait_until("the small files", || machine.entries("blobs").len() >= 4);
    let settled = machine.entries("blobs");
    for name in &settled {
        age(&machine.models().join("blobs").join(name), 30);
    }
    machine.run("prune").done();
    assert!(settled.iter().all(|name| machine.models().join("blobs").join(name).exists()));
    hub.release();
    let output = pull.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    machine.whole(MODEL);
}

#[test]
fn everything_can_be_read_by_everybody() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    let command = env!("CARGO_BIN_EXE_vecuna");
    let script = format!(
        "umask 077; {command} pull {MODEL} && {command} cp {MODEL} h/n/copy && {command} prune"
    );
    let outcome = machine.sh(&script).output().unwrap();
    assert!(outcome.status.success(), "{outcome:?}");
    let mut files = 0;
    check_modes(&machine.models(), &mut files);
    assert!(files > 8, "{files}");
}

fn check_modes(path: &Path, files: &mut usize) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mode = metadata.permissions().mode() & 0o777;
    let want = if metadata.is_dir() { 0o755 } else { 0o644 };
    assert_eq!(mode, want, "{:o} {}", mode, path.display());
    *files += 1;
    for entry in fs::read_dir(path).into_iter().flatten() {
        check_modes(&entry.unwrap().path(), files);
    }
}
