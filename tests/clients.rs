//! Do the clients that people use work unchanged: Ollama's for Python and JavaScript, and OpenAI's for Python?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Daemon, checkout, filled_once, http, succeed};

#[test]
fn ollama_for_python() {
    drive(Command::new(python()).arg(script("ollama_client.py")));
}

#[test]
fn openai_for_python() {
    drive(Command::new(python()).arg(script("openai_client.py")));
}

#[test]
fn ollama_for_javascript() {
    drive(Command::new("node").arg(node_folder().join("ollama_client.mjs")));
}

/// Runs a client's script against a daemon, and looks whether it left the store as it found it.
fn drive(command: &mut Command) {
    let daemon = Daemon::with_all_minilm(&[]);
    let environment =
        [("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1"), ("PYTHONDONTWRITEBYTECODE", "1")];
    let (stdout, _) = succeed(command.args([daemon.url.as_str(), "all-minilm"]).envs(environment));
    assert!(stdout.lines().count() >= 10, "too few checks:\n{stdout}");
    assert!(stdout.lines().all(|line| line.starts_with("ok ")), "{stdout}");
    let (status, _, tags) = http(&daemon.url, "GET", "/api/tags", &[], b"");
    assert_eq!((status, tags.matches("\"digest\"").count()), (200, 1), "{tags}");
    let library = daemon.store.join("manifests/registry.ollama.ai/library");
    let names: Vec<_> =
        fs::read_dir(library).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["all-minilm"]);
}

/// Returns the interpreter of a virtual environment that holds the Python packages.
fn python() -> PathBuf {
    let wanted = script("requirements.txt");
    let environment = filled_once(&format!("python-{}", key(&[&wanted])), |folder| {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        succeed(Command::new(folder.join("bin/python")).args(install).arg(&wanted));
    });
    environment.join("bin/python")
}

/// Returns a folder that holds the npm package and a copy of the script, which finds packages only beside itself.
fn node_folder() -> PathBuf {
    let files = ["package.json", "package-lock.json", "ollama_client.mjs"].map(script);
    filled_once(&format!("node-{}", key(&files.each_ref())), |folder| {
        for file in &files {
            fs::copy(file, folder.join(file.file_name().expect("it names a file"))).unwrap();
        }
        succeed(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder));
    })
}

fn script(name: &str) -> PathBuf {
    checkout("tests/clients").join(name)
}

/// Returns a name for the contents of `files`, so that new versions are installed in a new place.
fn key(files: &[impl AsRef<Path>]) -> String {
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(file).unwrap().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
