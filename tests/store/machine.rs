//! A user with a store and a hub, who runs commands in process or through a daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use registry::{Store, Stored};
use tempfile::TempDir;

use super::hub::Hub;
use crate::support::{self, Daemon};

/// A debug build on a busy machine takes seconds for what should take none.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing listens here, and no test is ever given this port.
const CLOSED: &str = "127.0.0.1:1";

pub(super) struct Machine {
    pub(super) folder: TempDir,
    endpoint: String,
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }
}

impl Outcome {
    /// Returns what a command wrote that must succeed.
    pub(super) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Returns what a command complains of that must fail.
    pub(super) fn complaint(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        let line = self.stderr.lines().find(|line| line.starts_with("Error: "));
        line.unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

impl Machine {
    pub(super) fn new(hub: &Hub) -> Self {
        let folder = support::folder();
        fs::write(folder.path().join("config.toml"), format!("host = \"{CLOSED}\"\n")).unwrap();
        Self { folder, endpoint: hub.endpoint.clone() }
    }

    /// Returns the same user with another hub.
    pub(super) fn with(self, hub: &Hub) -> Self {
        Self { endpoint: hub.endpoint.clone(), ..self }
    }

    /// Returns the store of the user, opened beside whatever else works on it.
    pub(super) fn store(&self) -> Store {
        Store::open(self.models()).unwrap()
    }

    pub(super) fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// Returns a command that works in process.
    pub(super) fn vecuna(&self, line: &str) -> Command {
        let mut command = support::vecuna();
        self.settle(command.args(line.split_whitespace()));
        command
    }

    /// Returns a shell whose commands work in process.
    pub(super) fn sh(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os() {
            if ["VECUNA_", "OLLAMA_"].iter().any(|p| name.to_string_lossy().starts_with(p)) {
                command.env_remove(&name);
            }
        }
        self.settle(command.args(["-c", script]));
        command
    }

    fn settle(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("VECUNA_CONFIG", self.folder.path().join("config.toml"));
        command.env("VECUNA_REGISTRY", "off");
        command.env("VECUNA_MODELS", self.models()).envs(self.settings());
    }

    /// Runs a command in process.
    pub(super) fn run(&self, line: &str) -> Outcome {
        self.vecuna(line).output().unwrap().into()
    }

    /// Starts a command in process.
    pub(super) fn begin(&self, line: &str) -> Child {
        let mut command = self.vecuna(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a daemon on the store.
    pub(super) fn daemon(&self) -> Daemon {
        let models = self.models();
        let settings = self.settings();
        let mut env: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (*n, v.as_str())).collect();
        env.push(("VECUNA_MODELS", models.to_str().unwrap()));
        Daemon::start(&env)
    }

    /// Returns what the hub needs to be this user's, whatever the user that runs the tests has set.
    fn settings(&self) -> [(&'static str, String); 5] {
        let home = self.folder.path().join("huggingface").display().to_string();
        [
            ("HF_ENDPOINT", self.endpoint.clone()),
            ("HF_HOME", home),
            ("HF_TOKEN", String::new()),
            ("HF_HUB_OFFLINE", "0".to_owned()),
            ("VECUNA_PIP", "no-such-pip".to_owned()),
        ]
    }

    /// Returns the names that are listed.
    pub(super) fn list(&self) -> Vec<String> {
        let listed = self.run("list").done();
        let first = |line: &str| line.split_whitespace().next().unwrap().to_owned();
        listed.lines().skip(1).map(first).collect()
    }

    /// Returns a vector, as text.
    pub(super) fn vector(&self, model: &str) -> String {
        let vector = self.run(&format!("run {model} hello")).done();
        assert!(vector.starts_with('['), "{vector}");
        vector
    }

    /// Returns a model that is listed, after every byte of it has been compared with its digest.
    pub(super) fn whole(&self, name: &str) -> Stored {
        let store = self.store();
        let model = store.find(&modelfiles::Name::parse(name).unwrap()).unwrap();
        for layer in model.manifest.blobs() {
            store.verify(&layer.digest).unwrap();
        }
        model
    }

    /// Returns the names of the files in a folder of the store, sorted.
    pub(super) fn entries(&self, folder: &str) -> Vec<String> {
        entries(&self.models().join(folder))
    }

    /// Returns the blob of a model's file.
    pub(super) fn blob(&self, model: &str, path: &str) -> PathBuf {
        let stored = self.whole(model);
        self.store().files(&stored).unwrap()[path].clone()
    }

    /// Waits until the partial of these bytes has grown to a size.
    pub(super) fn wait_for_partial(&self, bytes: &[u8], size: usize) {
        let name = registry::digest_of(bytes).file_name();
        let path = self.models().join("staging").join(format!("{name}.parts"));
        // The journal's parts are in order here: one connection writes them.
        let has_grown = || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let ends = text.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok());
            ends.max().unwrap_or(0) >= size
        };
        wait_until(&format!("{size} bytes in {}", path.display()), has_grown);
    }
}

/// Returns the names of the files in a folder, sorted; none where there is no folder.
fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Kills a process with SIGKILL and waits for its end.
pub(super) fn kill(mut process: Child) {
    assert!(process.try_wait().unwrap().is_none(), "it ended before it was killed");
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Waits until something holds that another process brings about.
#[expect(
    clippy::disallowed_methods,
    reason = "waits for another process; there is no runtime to block"
)]
pub(super) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
