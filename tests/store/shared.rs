//! Can many users have the models of one store, which none of them may change?

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::json;

use super::hub::Hub;
use super::machine::{Machine, Outcome};
use super::models::{WEIGHTS, padded, small};
use super::space::in_own_mounts;
use crate::support;

const MODEL: &str = "hf.co/o/r";

/// A machine with a model, and another user whose store lies over its store.
fn two(hub: &Hub) -> (Machine, Machine) {
    let [shared, own] = [(); 2].map(|()| Machine::new(hub));
    shared.run(&format!("pull {MODEL}")).done();
    symlink(shared.models(), own.folder.path().join("shared")).unwrap();
    (shared, own)
}

fn over(machine: &Machine, line: &str) -> Command {
    let mut command = machine.vecuna(line);
    command.env("VECUNA_SHARED_MODELS", machine.folder.path().join("shared"));
    command
}

fn run(machine: &Machine, line: &str) -> Outcome {
    over(machine, line).output().unwrap().into()
}

#[test]
fn a_shared_model_is_there_at_once() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    let (shared, own) = two(&hub);
    let vector = shared.vector(MODEL);
    assert_eq!(own.list(), [""; 0]);
    assert!(run(&own, "list").done().contains("hf.co/o/r:latest"));
    assert_eq!(run(&own, &format!("run {MODEL} hello")).done(), vector);
    let text = run(&own, &format!("rm {MODEL}")).complaint();
    assert_eq!(text, "Error: model 'hf.co/o/r:latest' is in the shared store, which is read-only");
    hub.forget();
    run(&own, &format!("pull {MODEL}")).done();
    assert_eq!(hub.seen(WEIGHTS).len(), 0, "its weights are below");
    run(&own, &format!("cp {MODEL} mine")).done();
    assert!(run(&own, "verify mine").done().ends_with(" 0 damaged\n"));
    run(&own, "rm mine").done();
    assert_eq!((own.entries("blobs"), own.entries("manifests")), (vec![], vec![]));
    shared.whole(MODEL);
}

#[test]
fn a_service_notices_a_model_that_hides_another() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let (shared, own) = two(&hub);
    let [models, below] = [own.models(), shared.models()].map(|path| path.display().to_string());
    let daemon =
        support::Daemon::start(&[("VECUNA_MODELS", &models), ("VECUNA_SHARED_MODELS", &below)]);
    let ask = |method: &str, path: &str, body: serde_json::Value| {
        support::http(&daemon.url, method, path, &[], body.to_string().as_bytes())
    };
    let length = || {
        let (status, _, text) =
            ask("POST", "/api/embed", json!({ "model": MODEL, "input": "hello" }));
        assert_eq!(status, 200, "{text}");
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        answer["embeddings"][0].as_array().unwrap().len()
    };
    let whole = length();
    let create = json!({ "model": MODEL, "from": MODEL, "parameters": { "dimensions": 4 }, "stream": false });
    let (status, _, text) = ask("POST", "/api/create", create);
    assert_eq!((status, length()), (200, 4), "{text}");
    let delete = || ask("DELETE", "/api/delete", json!({ "model": MODEL }));
    assert_eq!((delete().0, length()), (200, whole));
    let (status, _, text) = delete();
    let want = r#"{"error":"model 'hf.co/o/r:latest' is in the shared store, which is read-only"}"#;
    assert_eq!((status, text.as_str()), (403, want));
}

#[test]
fn a_shared_store_need_not_be_writable() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let (shared, own) = two(&hub);
    let vector = shared.vector(MODEL);
    let command = env!("CARGO_BIN_EXE_vecuna");
    let below = own.folder.path().join("shared").canonicalize().unwrap();
    let read_only =
        format!("mount --bind {0} {0} && mount -o remount,bind,ro {0}", below.display());
    let script = format!(
        "export VECUNA_SHARED_MODELS={}; {command} run {MODEL} hello && {command} cp {MODEL} mine && \
         {command} verify && {command} prune && {command} rm mine; {command} rm {MODEL}",
        below.display()
    );
    // A user who may not mount tries what root may do, too.
    let outcome = in_own_mounts(&own, &read_only, &script);
    let outcome = outcome.unwrap_or_else(|| own.sh(&script).output().unwrap().into());
    assert!(
        outcome.stdout.starts_with(&vector) && outcome.stdout.ends_with("deleted 'mine'\n"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.ends_with("is in the shared store, which is read-only\n"),
        "{outcome:?}"
    );
    shared.whole(MODEL);
}
