//! Do several pulls, removals and requests at once leave each other in peace?

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::hub::Hub;
use super::machine::{Machine, Outcome, wait_until};
use super::models::{WEIGHTS, padded, small};
use crate::support::{self, Daemon};

/// How often a model is removed while it is asked.
const ROUNDS: usize = 12;

/// Starts a pull through a daemon.
fn begin(machine: &Machine, daemon: &Daemon, model: &str) -> Child {
    let mut command = machine.vecuna(&format!("pull {model}"));
    command.env("VECUNA_HOST", &daemon.url).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn end(pull: Child) -> Outcome {
    pull.wait_with_output().unwrap().into()
}

/// Returns status and body of a request with a JSON body.
fn ask(daemon: &Daemon, method: &str, path: &str, body: &Value) -> (u16, String) {
    let (status, _, text) =
        support::http(&daemon.url, method, path, &[], body.to_string().as_bytes());
    (status, text)
}

fn embed(daemon: &Daemon, model: &str) -> (u16, String) {
    // A model that is not kept is loaded again for every request.
    let body = json!({ "model": model, "input": ["hello", "sky"], "keep_alive": 0 });
    ask(daemon, "POST", "/api/embed", &body)
}

#[test]
fn two_processes_pull_one_model() {
    let files = padded(1);
    let size = files[WEIGHTS].len();
    let hub = Hub::start(&[("o/r@main", files)]);
    let machine = Machine::new(&hub);
    hub.hold(WEIGHTS, Some(1_000_000));
    let pulls = ["hf.co/o/r", "hf.co/o/r"].map(|model| {
        let pull = machine.begin(&format!("pull {model}"));
        hub.wait_until_held();
        pull
    });
    // Files without a digest are fetched by both; the second comes no further before the release.
    wait_until("the second pull", || hub.seen("/tokenizer.json").len() == 2);
    hub.release();
    for pull in pulls {
        end(pull).done();
    }
    let sent: usize = hub.seen(WEIGHTS).iter().map(|seen| seen.sent()).sum();
    assert_eq!((hub.seen(WEIGHTS).len(), sent), (1, size));
    machine.whole("hf.co/o/r");
    machine.vector("hf.co/o/r");
}

#[test]
fn two_clients_of_a_daemon_pull_one_model() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let machine = Machine::new(&hub);
    let daemon = machine.daemon();
    hub.hold(WEIGHTS, Some(1_000_000));
    let first = begin(&machine, &daemon, "hf.co/o/r");
    hub.wait_until_held();
    let mut second = begin(&machine, &daemon, "hf.co/O/R");
    // It is told what the first has been told.
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("pulling from hub o/r")));
    hub.release();
    lines.for_each(drop);
    end(first).done();
    end(second).done();
    let mut targets: Vec<String> = hub.seen("").into_iter().map(|seen| seen.target).collect();
    let count = targets.len();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), count, "each once: {targets:?}");
    machine.whole("hf.co/o/r");
}

#[test]
fn a_pull_does_not_disturb_another_model() {
    let hub = Hub::start(&[("o/small@main", small("bert-plain")), ("o/r@main", padded(1))]);
    let machine = Machine::new(&hub);
    let daemon = machine.daemon();
    end(begin(&machine, &daemon, "hf.co/o/small")).done();
    let before = embed(&daemon, "hf.co/o/small");
    hub.hold(WEIGHTS, Some(1_000_000));
    let pull = begin(&machine, &daemon, "hf.co/o/r");
    hub.wait_until_held();
    for _ in 0..3 {
        let (status, text) = embed(&daemon, "hf.co/o/small");
        assert_eq!((status, vectors(&text)), (200, vectors(&before.1)), "{text}");
    }
    let (status, _) = embed(&daemon, "hf.co/o/r");
    assert_eq!(status, 404);
    hub.release();
    end(pull).done();
    assert_eq!(embed(&daemon, "hf.co/o/r").0, 200);
}

fn vectors(text: &str) -> Value {
    serde_json::from_str::<Value>(text).unwrap()["embeddings"].take()
}

#[test]
fn a_model_is_removed_while_it_is_asked() {
    let hub = Hub::start(&[("o/r@main", small("bert-plain"))]);
    let machine = Machine::new(&hub);
    let daemon = machine.daemon();
    for _ in 0..ROUNDS {
        end(begin(&machine, &daemon, "hf.co/o/r")).done();
        thread::scope(|scope| {
            let asking: Vec<_> = (0..2).map(|_| scope.spawn(|| ask_until_gone(&daemon))).collect();
            let (status, text) =
                ask(&daemon, "DELETE", "/api/delete", &json!({ "model": "hf.co/o/r" }));
            assert_eq!(status, 200, "{text}");
            for asked in asking {
                asked.join().unwrap();
            }
        });
    }
    assert_eq!(machine.entries("blobs"), [""; 0]);
}

/// Embeds until the model is gone; there is no third answer.
fn ask_until_gone(daemon: &Daemon) {
    loop {
        let (status, text) = embed(daemon, "hf.co/o/r");
        if status == 404 {
            assert!(text.contains("not found"), "{text}");
            return;
        }
        assert_eq!(status, 200, "{text}");
    }
}

#[test]
fn a_request_under_way_outlives_its_model() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    let daemon = machine.daemon();
    end(begin(&machine, &daemon, "hf.co/o/r")).done();
    // It is in memory, and stays there.
    let texts = vec!["hello ".repeat(40); 200];
    let body = json!({ "model": "hf.co/o/r", "input": texts });
    assert_eq!(
        ask(&daemon, "POST", "/api/embed", &json!({ "model": "hf.co/o/r", "input": "a" })).0,
        200
    );
    thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&daemon, "POST", "/api/embed", &body));
        let removed = ask(&daemon, "DELETE", "/api/delete", &json!({ "model": "hf.co/o/r" }));
        assert_eq!(removed.0, 200);
        let (status, text) = asked.join().unwrap();
        assert!([200, 404].contains(&status), "{status}: {text}");
    });
    assert_eq!(embed(&daemon, "hf.co/o/r").0, 404);
}

#[test]
fn a_copy_keeps_the_blobs() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    let (vector, blobs) = (machine.vector("hf.co/o/r"), machine.entries("blobs"));
    machine.run("cp hf.co/o/r mine").done();
    machine.run("rm hf.co/o/r").done();
    assert_eq!(machine.list(), ["mine:latest"]);
    assert_eq!((machine.vector("mine"), machine.entries("blobs")), (vector, blobs));
    machine.run("rm mine").done();
    assert_eq!((machine.entries("blobs"), machine.entries("manifests")), (vec![], vec![]));
}

#[test]
fn readers_do_not_wait_for_who_changes_the_store() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    let lock = File::create(machine.models().join("vecuna.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(machine.list(), ["hf.co/o/r:latest"]);
    machine.run("show hf.co/o/r").done();
    machine.vector("hf.co/o/r");
}

#[test]
fn a_daemon_sees_what_other_processes_do() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    let daemon = machine.daemon();
    assert_eq!(embed(&daemon, "hf.co/o/r").0, 404);
    machine.run("pull hf.co/o/r").done();
    assert_eq!(embed(&daemon, "hf.co/o/r").0, 200);
    machine.run("rm hf.co/o/r").done();
    assert_eq!(embed(&daemon, "hf.co/o/r").0, 404);
}
