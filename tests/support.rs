//! What do the tests need from outside: a daemon of their own, real weights, plain HTTP, things made once?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod http;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) use self::http::{http, try_http};

/// A daemon answers within a second; a busy machine with a cold disk may take some more.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Another process may take the port between its reservation and its use.
const ATTEMPTS: usize = 5;

/// A daemon on a port of its own, killed when dropped.
pub(crate) struct Daemon {
    pub(crate) url: String,
    pub(crate) store: PathBuf,
    process: Process,
    _folder: TempDir,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Daemon {
    /// Starts a daemon with the variables `env`, on an empty store unless they name one.
    pub(crate) fn start(env: &[(&str, &str)]) -> Self {
        Self::start_in(folder(), env)
    }

    /// Starts a daemon whose own store holds all-minilm.
    pub(crate) fn with_all_minilm(env: &[(&str, &str)]) -> Self {
        let folder = folder();
        share(&real_store(), &folder.path().join("models"));
        Self::start_in(folder, env)
    }

    /// Returns the number of the process.
    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    fn start_in(folder: TempDir, env: &[(&str, &str)]) -> Self {
        let own = folder.path().join("models");
        let named = env.iter().find(|(name, _)| *name == "VECUNA_MODELS");
        let store = named.map_or(own, |(_, value)| PathBuf::from(value));
        let log = folder.path().join("daemon.log");
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let mut process = serve(port, &store, &log, env);
            let url = format!("http://127.0.0.1:{port}");
            if answers(&mut process, &url) {
                return Self { url, store, process, _folder: folder };
            }
        }
        panic!("no daemon started; the last one wrote:\n{}", fs::read_to_string(log).unwrap());
    }
}

/// Returns a command for the binary under test that knows none of the settings of whoever runs the tests.
pub(crate) fn vecuna() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vecuna"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("VECUNA_") || text.starts_with("OLLAMA_") {
            command.env_remove(&name);
        }
    }
    // No test asks Ollama's registry for a name that nobody else knows.
    command.env("VECUNA_CONFIG", "/dev/null").env("VECUNA_REGISTRY", "off");
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(port: u16, store: &Path, log: &Path, env: &[(&str, &str)]) -> Process {
    let log = File::create(log).unwrap();
    let child = vecuna()
        .arg("serve")
        .env("VECUNA_HOST", format!("127.0.0.1:{port}"))
        .env("VECUNA_MODELS", store)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    Process(child.unwrap())
}

/// Waits until the daemon answers; false if it ended, or did not answer in time.
fn answers(process: &mut Process, url: &str) -> bool {
    let start = Instant::now();
    while start.elapsed() < START_LIMIT {
        if process.0.try_wait().unwrap().is_some() {
            return false;
        }
        if try_http(url, "GET", "/", &[], b"").is_ok_and(|(_, _, body)| body == "Ollama is running")
        {
            return true;
        }
        pause();
    }
    false
}

#[expect(
    clippy::disallowed_methods,
    reason = "waits for another process; there is no runtime to block"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Returns a store that holds all-minilm, shared by all test runs: read it, or start `Daemon::with_all_minilm`.
///
/// It is pulled through a daemon of our own, because whatever listens on the default port would take a plain
/// `vecuna pull`.
pub(crate) fn real_store() -> PathBuf {
    let filled = filled_once("all-minilm", |folder| {
        let store = folder.join("models");
        let daemon = Daemon::start(&[("VECUNA_MODELS", store.to_str().unwrap())]);
        succeed(vecuna().args(["pull", "all-minilm"]).env("VECUNA_HOST", &daemon.url));
    });
    filled.join("models")
}

/// Fills the store `to` with what `from` holds: blobs are never written again, so they are linked; the rest is copied.
fn share(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            share(&source, &target);
        } else if entry.file_name().to_string_lossy().starts_with("sha256-") {
            fs::hard_link(source, target).unwrap();
        } else {
            fs::copy(source, target).unwrap();
        }
    }
}

/// Returns a folder below target/ that `fill` fills once, whichever thread or process comes first.
pub(crate) fn filled_once(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.parent().expect("it was joined")).unwrap();
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let filled = folder.join("filled");
    if !filled.exists() {
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).unwrap();
        fill(&folder);
        File::create(filled).unwrap();
    }
    folder
}

/// Returns a new folder that goes when the test ends, on the file system of the shared ones.
pub(crate) fn folder() -> TempDir {
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Returns the path of a file of the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate lies in the checkout").join(path)
}

/// Runs a command that must succeed, and returns what it wrote to stdout and stderr.
pub(crate) fn succeed(command: &mut Command) -> (String, String) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; .ci/run installs what the tests need")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    (stdout, stderr)
}
