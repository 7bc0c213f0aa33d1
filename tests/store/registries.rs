//! Do models go to the registries that people have, and come back the same?

pub(super) mod server;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use self::server::Server;
use super::hub::Hub;
use super::machine::{Machine, Outcome, kill};
use super::models::{WEIGHTS, padded};
use crate::support;

/// Two users; the first has a model under the name that leads to the registry.
struct Users {
    sender: Machine,
    receiver: Machine,
    name: String,
}

impl Users {
    fn of(server: &Server) -> Self {
        let hub = Hub::start(&[("o/r@main", padded(1))]);
        let (sender, receiver) = (Machine::new(&hub), Machine::new(&hub));
        let name = format!("127.0.0.1:{}/team/tiny", server.port);
        sender.run("pull hf.co/o/r").done();
        sender.run(&format!("cp hf.co/o/r {name}")).done();
        Self { sender, receiver, name }
    }

    /// Checks that both have the same model.
    fn agree(&self) {
        let (sent, received) = (self.sender.whole(&self.name), self.receiver.whole(&self.name));
        assert_eq!(sent.digest, received.digest);
        assert_eq!(self.sender.vector(&self.name), self.receiver.vector(&self.name));
    }
}

/// Runs a command with variables.
fn run(machine: &Machine, line: &str, variables: &[(&str, &Path)]) -> Outcome {
    let mut command = machine.vecuna(line);
    command.env_remove("SSL_CERT_FILE").envs(variables.iter().copied());
    command.output().unwrap().into()
}

/// Writes a login as docker does, and returns its folder.
fn login(machine: &Machine, server: &Server, password: &str) -> std::path::PathBuf {
    let folder = machine.folder.path().join(format!("docker-{}", password.len()));
    fs::create_dir_all(&folder).unwrap();
    let (user, host) = (server::USER, format!("127.0.0.1:{}", server.port));
    let entry = json!({ "username": user, "password": password });
    let config = json!({ "auths": { (host): entry } });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn a_model_is_the_same_on_both_sides_of_a_registry() {
    let server = Server::open();
    let users = Users::of(&server);
    let pushed = run(&users.sender, &format!("push {}", users.name), &[]);
    assert!(pushed.stderr.contains("retrieving manifest"), "{pushed:?}");
    pushed.done();
    run(&users.receiver, &format!("pull {}", users.name), &[]).done();
    users.agree();
    let missing = run(&users.receiver, &format!("pull {}:v2", users.name), &[]).complaint();
    assert!(
        missing.contains("file does not exist") && missing.contains("there is latest"),
        "{missing}"
    );
}

#[test]
fn a_daemon_pushes_in_ollamas_words() {
    let server = Server::open();
    let users = Users::of(&server);
    let daemon = users.sender.daemon();
    let body = json!({ "model": users.name, "insecure": true }).to_string();
    let (status, _, text) = support::http(&daemon.url, "POST", "/api/push", &[], body.as_bytes());
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, &lines[0]), (200, &json!({ "status": "retrieving manifest" })));
    let end = [json!({ "status": "pushing manifest" }), json!({ "status": "success" })];
    assert_eq!(lines[lines.len() - 2..], end);
    for line in &lines[1..lines.len() - 2] {
        let hex = line["digest"].as_str().unwrap().trim_start_matches("sha256:");
        assert_eq!(line["status"], format!("pushing {}", &hex[..12]));
        assert!(line["completed"].as_u64().unwrap_or(0) <= line["total"].as_u64().unwrap());
    }
    run(&users.receiver, &format!("pull {}", users.name), &[]).done();
    users.agree();
}

#[test]
fn a_private_registry_wants_the_login_that_docker_has() {
    let server = Server::private();
    let users = Users::of(&server);
    let nowhere = users.sender.folder.path().join("nowhere");
    let (right, wrong) =
        (login(&users.sender, &server, server::PASSWORD), login(&users.sender, &server, "wrong"));
    for (machine, verb) in [(&users.sender, "push"), (&users.receiver, "pull")] {
        let line = format!("{verb} {}", users.name);
        let said = run(machine, &line, &[("DOCKER_CONFIG", &nowhere)]).complaint();
        assert!(
            said.contains("wants a login") && said.contains("docker login 127.0.0.1:"),
            "{said}"
        );
        let said = run(machine, &line, &[("DOCKER_CONFIG", &wrong)]).complaint();
        let words = if verb == "push" { "not authorized to push" } else { "access denied" };
        assert!(said.contains(words), "{said}");
        run(machine, &line, &[("DOCKER_CONFIG", &right)]).done();
    }
    users.agree();
}

#[test]
fn a_registry_with_a_certificate_of_its_own_is_trusted_when_told_so() {
    let server = Server::encrypted();
    let users = Users::of(&server);
    let authority = server.folder.path().join("ca.pem");
    for (machine, verb) in [(&users.sender, "push"), (&users.receiver, "pull")] {
        let line = format!("{verb} {}", users.name);
        let said = run(machine, &line, &[]).complaint();
        assert!(said.contains("SSL_CERT_FILE may name a file"), "{said}");
        run(machine, &line, &[("SSL_CERT_FILE", &authority)]).done();
    }
    users.agree();
}

/// As the registries of clouds do it: blobs lie elsewhere, where a login is an error.
#[test]
fn blobs_come_from_a_content_network() {
    let server = Server::private();
    let network = server.behind_nginx();
    let users = Users::of(&network);
    let docker = login(&users.sender, &network, server::PASSWORD);
    run(&users.sender, &format!("push {}", users.name), &[("DOCKER_CONFIG", &docker)]).done();
    let line = format!("pull {}", users.name);
    let weights = fs::read(users.sender.blob(&users.name, WEIGHTS)).unwrap();
    let killed =
        users.receiver.vecuna(&line).env("DOCKER_CONFIG", &docker).stderr(Stdio::null()).spawn();
    let killed = killed.unwrap();
    users.receiver.wait_for_partial(&weights, 500_000);
    kill(killed);
    run(&users.receiver, &line, &[("DOCKER_CONFIG", &docker)]).done();
    users.agree();
    let log = fs::read_to_string(network.folder.path().join("content.log")).unwrap();
    assert!(log.lines().any(|line| line.starts_with("206 ")), "{log}");
    assert!(log.lines().all(|line| !line.starts_with("403 ")), "{log}");
}

/// As companies have it: `HF_ENDPOINT` is a mirror that is only files, behind a network for content.
#[test]
fn a_mirror_of_the_hub_is_a_folder_of_files() {
    let files = padded(1);
    let commit = "cccccccccccccccccccccccccccccccccccccccc";
    let mirror = Server::mirror("o/r", commit, &files);
    let machine = Machine::new(&Hub::start(&[]));
    let endpoint = format!("http://127.0.0.1:{}", mirror.port);
    let with = |line: &str| {
        let mut command = machine.vecuna(line);
        command.env("HF_ENDPOINT", &endpoint).stderr(Stdio::null());
        command
    };
    let killed = with("pull o/r").spawn().unwrap();
    machine.wait_for_partial(&files[WEIGHTS], 500_000);
    kill(killed);
    assert!(with("pull o/r").status().unwrap().success());
    assert_eq!(fs::read(machine.blob("o/r", WEIGHTS)).unwrap(), files[WEIGHTS]);
    machine.vector("o/r");
    let log = fs::read_to_string(mirror.folder.path().join("content.log")).unwrap();
    assert!(log.lines().any(|line| line.starts_with("206 bytes=")), "{log}");
}

/// As on Ollama's registry: one layer without a name, under a name without a host.
#[test]
fn a_gguf_file_comes_from_the_registry_that_short_names_mean() {
    let server = Server::open();
    let host = format!("127.0.0.1:{}", server.port);
    let hub = Hub::start(&[]);
    let (sender, receiver) = (Machine::new(&hub), Machine::new(&hub));
    let file = support::checkout("tests/goldens/tokenizers/xlm-roberta.gguf");
    let recipe = format!("FROM {}\n", file.display());
    fs::write(sender.folder.path().join("Modelfile"), recipe).unwrap();
    let name = format!("{host}/library/tiny-gguf");
    sender.run(&format!("create {name} -f Modelfile")).done();
    run(&sender, &format!("push {name}"), &[]).done();
    let manifest = sender.whole(&name).manifest;
    assert_eq!(manifest.media_type, registry::MANIFEST_TYPE, "Ollama's clients read no other");
    let short = |line: &str| {
        let mut command = receiver.vecuna(line);
        Outcome::from(command.env("VECUNA_REGISTRY", &host).output().unwrap())
    };
    short("pull tiny-gguf").done();
    assert_eq!(receiver.whole("tiny-gguf").digest, sender.whole(&name).digest);
    let before =
        fs::read(receiver.models().join("manifests/registry.ollama.ai/library/tiny-gguf/latest"));
    assert_eq!(before.unwrap(), manifest.to_bytes().unwrap());
    assert_eq!(receiver.vector("tiny-gguf"), sender.vector(&name));
    // A second pull finds the same digest and is done.
    let again = short("pull tiny-gguf");
    assert!(again.stderr.contains("success") || again.code == Some(0), "{again:?}");
    assert!(short("pull other-gguf").complaint().contains("file does not exist"));
}

/// A company that has nothing but its registry: known names come from there, when nothing else has them.
#[test]
fn known_names_come_from_a_registry_of_ones_own() {
    let server = Server::open();
    let host = format!("127.0.0.1:{}", server.port);
    let users = Users::of(&server);
    let known = format!("{host}/library/bge-small");
    users.sender.run(&format!("cp hf.co/o/r {known}")).done();
    run(&users.sender, &format!("push {known}"), &[]).done();
    let pull = |name: &str| {
        let mut command = users.receiver.vecuna(&format!("pull {name}"));
        let command = command.env("VECUNA_REGISTRY", &host).env("HF_HUB_OFFLINE", "1");
        Outcome::from(command.output().unwrap())
    };
    pull("bge-small").done();
    assert_eq!(users.receiver.whole("bge-small").digest, users.sender.whole(&known).digest);
    users.receiver.vector("bge-small");
    // Where the library knows a digest, no other bytes pass for the model.
    let other = format!("{host}/library/all-minilm");
    users.sender.run(&format!("cp hf.co/o/r {other}")).done();
    run(&users.sender, &format!("push {other}"), &[]).done();
    let refused = pull("all-minilm").complaint();
    assert!(refused.contains("offers another 'model.safetensors'"), "{refused}");
}
