//! Where does the measured service come from? The binary itself, in a process and with a store of its own.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::client::Client;

/// How often the service is asked whether it is there; it needs some milliseconds.
const ATTEMPTS: usize = 500;

/// A running service that has the model `bench`; it ends when this is dropped.
pub(crate) struct Service {
    process: Child,
    /// Where it listens.
    pub(crate) address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Service {
    /// Starts the service with the model of a folder.
    pub(crate) fn start(model: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let vecuna = |argument: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vecuna"));
            command.arg(argument).stdout(Stdio::null()).env("VECUNA_HOST", &address);
            command.env("VECUNA_MODELS", folder.path().join("models"));
            command
        };
        let process = vecuna("serve").stderr(Stdio::null()).spawn()?;
        let modelfile = folder.path().join("Modelfile");
        let model = fs::canonicalize(Path::new(model))?;
        fs::write(&modelfile, format!("FROM {}\n", model.display()))?;
        wait_for(&address)?;
        let created = vecuna("create").args(["bench", "-f"]).arg(&modelfile).status()?;
        if !created.success() {
            return Err(io::Error::other("the model could not be created"));
        }
        Ok(Self { process, address, _folder: folder })
    }

    /// Returns the resident memory in bytes, where the system tells it.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "waits for another process; there is no runtime to block"
)]
fn wait_for(address: &str) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        if Client::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other("the service does not answer"))
}
