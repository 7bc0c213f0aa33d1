//! What is left when a pull is killed with SIGKILL, wherever it is? Nothing half done, and nothing is fetched twice.

use std::fs::{self, File};

use super::hub::Hub;
use super::machine::{Machine, kill, wait_until};
use super::models::{WEIGHTS, padded};

const MODEL: &str = "hf.co/o/r";

/// Pulls until the hub holds at a byte of a target, kills, and pulls again: `known` bytes of the weights stay.
fn killed(target: &str, at: Option<usize>, known: usize) {
    let files = padded(1);
    let weights = files[WEIGHTS].clone();
    let hub = Hub::start(&[("o/r@main", files)]);
    let machine = Machine::new(&hub);
    hub.hold(target, at);
    let pull = machine.begin(&format!("pull {MODEL}"));
    hub.wait_until_held();
    if known > 0 && known < weights.len() {
        machine.wait_for_partial(&weights, known);
    } else if known > 0 {
        wait_until("the weights", || {
            machine.store().size_of(&registry::digest_of(&weights)).is_some()
        });
    }
    kill(pull);
    hub.release();
    leaves_no_model(&machine);
    hub.forget();
    resumes(&machine, &hub, &weights, known);
}

fn leaves_no_model(machine: &Machine) {
    assert_eq!(machine.list(), [""; 0]);
    assert_eq!(machine.entries("manifests"), [""; 0]);
    let refused = machine.run(&format!("show {MODEL}")).complaint();
    assert_eq!(refused, "Error: model 'hf.co/o/r:latest' not found");
}

/// Pulls to the end, and checks that no byte of the weights that is there is fetched.
fn resumes(machine: &Machine, hub: &Hub, weights: &[u8], known: usize) {
    machine.run(&format!("pull {MODEL}")).done();
    let seen = hub.seen(WEIGHTS);
    let fetched: usize = seen.iter().map(|seen| seen.sent()).sum();
    assert_eq!(fetched, weights.len() - known, "{seen:?}");
    let start = seen.first().map(|seen| seen.range);
    let want = (known < weights.len()).then_some((known > 0).then_some(known));
    assert_eq!(start, want);
    assert_eq!(fs::read(machine.blob(MODEL, WEIGHTS)).unwrap(), weights);
    assert_eq!(machine.list(), ["hf.co/o/r:latest"]);
    machine.vector(MODEL);
    let partials = machine.entries("staging").into_iter().filter(|name| name.starts_with("sha256"));
    assert_eq!(partials.count(), 0);
}

#[test]
fn while_the_hub_is_asked() {
    killed("/revision/main", None, 0);
    killed("blobs=true", None, 0);
    killed("/modules.json", None, 0);
}

#[test]
fn before_the_first_byte_of_a_blob_and_after_it() {
    killed(WEIGHTS, None, 0);
    killed(WEIGHTS, Some(0), 0);
    killed(WEIGHTS, Some(1), 1);
}

#[test]
fn in_the_middle_of_a_blob_and_before_its_last_byte() {
    let size = padded(1)[WEIGHTS].len();
    killed(WEIGHTS, Some(1_000_003), 1_000_003);
    killed(WEIGHTS, Some(size - 1), size - 1);
}

#[test]
fn between_two_blobs() {
    let size = padded(1)[WEIGHTS].len();
    killed("/tokenizer.json", None, size);
    killed("/tokenizer.json", Some(100), size);
}

#[test]
fn before_the_manifest() {
    let files = padded(1);
    let (weights, count) = (files[WEIGHTS].clone(), files.len());
    let hub = Hub::start(&[("o/r@main", files)]);
    let machine = Machine::new(&hub);
    hub.hold("/tokenizer.json", None);
    let pull = machine.begin(&format!("pull {MODEL}"));
    hub.wait_until_held();
    // Who writes the manifest waits for this lock.
    let lock = File::create(machine.models().join("vecuna.lock")).unwrap();
    lock.lock().unwrap();
    hub.release();
    wait_until("all blobs", || machine.entries("blobs").len() == count);
    kill(pull);
    drop(lock);
    leaves_no_model(&machine);
    hub.forget();
    resumes(&machine, &hub, &weights, weights.len());
}

#[test]
fn a_daemon_during_a_pull() {
    let files = padded(1);
    let weights = files[WEIGHTS].clone();
    let hub = Hub::start(&[("o/r@main", files)]);
    let machine = Machine::new(&hub);
    let daemon = machine.daemon();
    hub.hold(WEIGHTS, Some(2_000_000));
    let mut command = machine.vecuna(&format!("pull {MODEL}"));
    let client = command.env("VECUNA_HOST", &daemon.url).stderr(std::process::Stdio::piped());
    let client = client.spawn().unwrap();
    hub.wait_until_held();
    machine.wait_for_partial(&weights, 2_000_000);
    drop(daemon);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    hub.release();
    leaves_no_model(&machine);
    hub.forget();
    resumes(&machine, &hub, &weights, 2_000_000);
}

#[test]
fn during_the_pull_of_a_newer_version() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let machine = Machine::new(&hub);
    machine.run(&format!("pull {MODEL}")).done();
    let (old, vector) = (machine.whole(MODEL).digest, machine.vector(MODEL));
    let newer = padded(2);
    let weights = newer[WEIGHTS].clone();
    let hub = Hub::start(&[("o/r@main", newer)]);
    let machine = machine.with(&hub);
    hub.hold(WEIGHTS, Some(1_000_000));
    let pull = machine.begin(&format!("pull {MODEL}"));
    hub.wait_until_held();
    machine.wait_for_partial(&weights, 1_000_000);
    kill(pull);
    hub.release();
    assert_eq!((machine.whole(MODEL).digest, machine.vector(MODEL)), (old, vector));
    hub.forget();
    resumes(&machine, &hub, &weights, 1_000_000);
    assert_ne!(machine.whole(MODEL).digest, old);
}
