//! Which names lead to which repository at which revision?

use super::hub::Hub;
use super::machine::Machine;
use super::models::{padded, small};

/// Pulls a name, and expects the hub to be asked for a repository at a revision, and a model of this name.
fn leads(name: &str, repository: &str, revision: &str, listed: &str) {
    let key = format!("{repository}@{revision}");
    let hub = Hub::start(&[(&key, small("bert-mean"))]);
    let machine = Machine::new(&hub);
    let outcome = machine.run(&format!("pull {name}"));
    assert_eq!(outcome.code, Some(0), "{name}: {outcome:?}");
    let target = format!("/api/models/{repository}/revision/{revision}");
    assert_eq!(hub.seen(&target).first().map(|seen| seen.target.clone()), Some(target));
    assert_eq!(machine.list(), [listed]);
    machine.vector(name);
    machine.run(&format!("rm {name}")).done();
    assert_eq!(machine.list(), [""; 0]);
}

#[test]
fn names_of_the_hub() {
    leads("hf.co/Own-er/Re.po", "Own-er/Re.po", "main", "hf.co/Own-er/Re.po:latest");
    leads("huggingface.co/o/r:latest", "o/r", "main", "huggingface.co/o/r:latest");
    leads("hf.co/o/r:v1.5", "o/r", "v1.5", "hf.co/o/r:v1.5");
    leads("o/r", "o/r", "main", "o/r:latest");
    leads("o/r:v2", "o/r", "v2", "o/r:v2");
}

#[test]
fn names_of_the_library() {
    let repository = "sentence-transformers/all-MiniLM-L12-v2";
    leads("all-minilm:33m", repository, "main", "all-minilm:33m");
    leads("all-minilm-l12-v2", repository, "main", "all-minilm-l12-v2:latest");
    leads(repository, repository, "main", "sentence-transformers/all-MiniLM-L12-v2:latest");
}

#[test]
fn revisions_are_models_of_their_own() {
    let hub = Hub::start(&[("o/r@main", padded(1)), ("o/r@v2", small("bert-plain"))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    machine.run("pull hf.co/o/r:v2").done();
    let mut list = machine.list();
    list.sort();
    assert_eq!(list, ["hf.co/o/r:latest", "hf.co/o/r:v2"]);
    assert_ne!(machine.vector("hf.co/o/r"), machine.vector("hf.co/o/r:v2"));
    let text = machine.run("pull hf.co/o/r:v3").complaint();
    let want = "Error: pull model manifest: file does not exist";
    assert!(text.starts_with(want) && text.contains("'v3'"), "{text}");
}

#[test]
fn names_that_lead_nowhere() {
    let hub = Hub::start(&[]);
    let machine = Machine::new(&hub);
    let missing = "Error: pull model manifest: file does not exist";
    assert_eq!(machine.run("pull nothing-like-this").complaint(), missing);
    assert!(hub.seen("").is_empty());
    for name in ["hf.co/no/such", "no/such"] {
        let text = machine.run(&format!("pull {name}")).complaint();
        assert!(text.starts_with(missing) && text.contains("'no/such'"), "{text}");
    }
    for name in ["hf.co/../../x", "hf.co/a/b/c/d", "/etc/passwd", "a//b", "../x"] {
        let text = machine.run(&format!("pull {name}")).complaint();
        assert!(text.contains("invalid model name"), "{name}: {text}");
    }
    assert_eq!((machine.list(), machine.entries("blobs")), (vec![], vec![]));
}
