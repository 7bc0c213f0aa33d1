//! Who waits for whom: a client that leaves, a bulk load beside a single text, two models in room for one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ask::{get, loaded, make, ok, soon, tiny};
use crate::support::Daemon;

/// More work than any machine does while a test waits.
const TEXTS: usize = 20_000;
/// By then the bulk load has been read and its texts wait.
const READING: Duration = Duration::from_secs(3);
const TEXT: &str = "why is the sky blue, and why is it red in the evening when the sun goes down? ";

fn bulk(count: usize) -> String {
    json!({ "model": "all-minilm", "input": vec![TEXT.repeat(8); count], "keep_alive": 0 })
        .to_string()
}

/// Sends a request and does not wait for its answer.
fn begin(daemon: &Daemon, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.url.trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /api/embed HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

#[test]
fn a_client_that_leaves_takes_its_work_with_it() {
    let daemon = Daemon::with_all_minilm(&[]);
    let stream = begin(&daemon, &bulk(TEXTS));
    soon("the model is loaded", || !loaded(&daemon).is_empty());
    drop(stream);
    // Its keep_alive is 0: the model goes when the request ends.
    soon("the request has ended", || loaded(&daemon).is_empty());
}

/// By order, not by a clock: how long a batch takes says more of what else runs on the machine.
#[test]
fn a_single_text_does_not_wait_for_a_bulk_load() {
    let daemon = Daemon::with_all_minilm(&[]);
    let single = json!({ "model": "all-minilm", "input": TEXT });
    ok(&daemon, "/api/embed", &single);
    let mut stream = begin(&daemon, &bulk(TEXTS));
    let (started, mut answered) = (Instant::now(), 0);
    while answered < 10 || started.elapsed() < READING {
        ok(&daemon, "/api/embed", &single);
        get(&daemon, "/health");
        answered += 1;
    }
    // The bulk load came first and is far from its end: nothing of its answer has been sent.
    stream.set_nonblocking(true).unwrap();
    let early = stream.read(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::WouldBlock, "the bulk load ended before the single texts");
}

#[test]
fn two_models_in_room_for_one_both_get_their_turns() {
    let daemon = tiny(&[("VECUNA_MAX_LOADED_MODELS", "1")]);
    make(&daemon, "second", "roberta", &Value::Null);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    ok(&daemon, "/api/embed", &json!({ "model": "tiny", "input": TEXT }));
                }
            });
        }
        for _ in 0..5 {
            let started = Instant::now();
            ok(&daemon, "/api/embed", &json!({ "model": "second", "input": TEXT }));
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
    });
}
