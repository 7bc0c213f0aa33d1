//! Do two services on one store, eight clients each, lose a blob or leave a manifest without one in a minute?

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::hub::{Files, Hub};
use super::machine::Machine;
use super::models::{WEIGHTS, padded, small};
use crate::support::{self, Daemon};

const CLIENTS: u64 = 8;
const TIME: Duration = Duration::from_secs(60);
const NAMES: [&str; 5] = ["hf.co/o/a", "hf.co/o/b", "hf.co/o/c", "mine", "other"];

/// Models that share their large file, and one that shares only small ones.
fn models() -> [(&'static str, Files); 3] {
    let with = |seed: u32, card: &str| {
        let mut files = small("bert-mean");
        files.insert(WEIGHTS.to_owned(), padded(seed)[WEIGHTS].clone());
        files.insert("README.md".to_owned(), card.as_bytes().to_vec());
        files
    };
    [("o/a@main", with(1, "a")), ("o/b@main", with(1, "b")), ("o/c@main", with(2, "c"))]
}

/// Small numbers that are the same in every run; what threads make of them is not.
fn roll(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap() % limit
}

/// Pulls, copies, removes and asks until the time is over; every answer is one that a client can expect.
fn client(daemon: &Daemon, seed: u64, end: Instant) -> usize {
    let mut state = seed;
    let mut count = 0;
    while Instant::now() < end {
        let name = NAMES[roll(&mut state, 3)];
        let copy = NAMES[3 + roll(&mut state, 2)];
        let (method, path, body, wanted) = match roll(&mut state, 6) {
            0 | 1 => ("POST", "/api/pull", json!({ "model": name, "stream": false }), [200, 200]),
            2 => ("DELETE", "/api/delete", json!({ "model": name }), [200, 404]),
            3 => ("POST", "/api/copy", json!({ "source": name, "destination": copy }), [200, 404]),
            4 => ("DELETE", "/api/delete", json!({ "model": copy }), [200, 404]),
            _ => ("POST", "/api/show", json!({ "model": name }), [200, 404]),
        };
        let body = body.to_string();
        let (status, _, text) = support::http(&daemon.url, method, path, &[], body.as_bytes());
        assert!(wanted.contains(&status), "{method} {path} {body}: {status} {text}");
        count += 1;
    }
    count
}

#[test]
fn two_services_on_one_store() {
    let hub = Hub::start(&models().map(|(name, files)| (name, files)));
    let machine = Machine::new(&hub);
    let daemons = [machine.daemon(), machine.daemon()];
    let end = Instant::now() + TIME;
    let counts: Vec<usize> = thread::scope(|scope| {
        let clients: Vec<_> = (0..2 * CLIENTS)
            .map(|n| {
                let daemon = &daemons[usize::try_from(n % 2).unwrap()];
                scope.spawn(move || client(daemon, n, end))
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(counts.iter().all(|&count| count > 5), "{counts:?}");
    // What is listed is whole, and what is on the disk is listed.
    for name in machine.list() {
        machine.whole(&name);
        machine.vector(&name);
    }
    for name in NAMES {
        machine.run(&format!("rm {name}"));
    }
    assert_eq!((machine.list(), machine.entries("blobs")), (vec![], vec![]));
    machine.run("pull hf.co/o/a").done();
    machine.whole("hf.co/o/a");
    machine.vector("hf.co/o/a");
}
