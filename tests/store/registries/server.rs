//! Debian's own registry and nginx, on ports of their own.

use std::cell::RefCell;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::store::hub::Files;
use crate::store::machine::wait_until;
use crate::support::{self, succeed};

pub(super) const USER: &str = "tester";
pub(super) const PASSWORD: &str = "s3cret pass";
/// The password as bcrypt has it, with the fewest rounds.
const HASH: &str = "$2b$04$BCZGhhQTpqALjU34VCrW8O3ZL5y3ul9uBAnsqDsIng5uK6PU6Gfki";

/// A server, killed when dropped.
pub(in crate::store) struct Server {
    pub(in crate::store) port: u16,
    pub(super) folder: TempDir,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Server {
    /// Starts a registry that everybody may use.
    pub(in crate::store) fn open() -> Self {
        Self::registry(support::folder(), "", "")
    }

    /// Starts a registry that wants a login.
    pub(super) fn private() -> Self {
        let folder = support::folder();
        let path = folder.path().join("htpasswd");
        fs::write(&path, format!("{USER}:{HASH}\n")).unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", path.display());
        Self::registry(folder, &auth, "")
    }

    /// Starts a registry that speaks TLS, with a certificate that `ca.pem` in its folder vouches for.
    pub(super) fn encrypted() -> Self {
        let folder = support::folder();
        let certificate = |words: &str| {
            let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -out";
            let words = format!("{new} {words}");
            succeed(Command::new("openssl").args(words.split(' ')).current_dir(folder.path()));
        };
        certificate("ca.pem -keyout ca.key -subj /CN=authority");
        certificate(
            "leaf.pem -keyout leaf.key -CA ca.pem -CAkey ca.key -subj /CN=registry \
             -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
        );
        let place = folder.path().display();
        let tls = format!(", tls: {{certificate: {place}/leaf.pem, key: {place}/leaf.key}}");
        Self::registry(folder, "", &tls)
    }

    fn registry(folder: TempDir, auth: &str, tls: &str) -> Self {
        let config = |port: u16| {
            let place = folder.path().display();
            format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {place}/storage}}}}\n\
                 http: {{addr: \"127.0.0.1:{port}\"{tls}}}\n{auth}"
            )
        };
        let (port, process) =
            start("docker-registry", folder.path(), &config, &["serve", "config"]);
        Self { port, folder, process }
    }

    /// Starts nginx as a mirror of the hub with one repository, whose files it has in another place, at a commit.
    pub(super) fn mirror(repo: &str, commit: &str, files: &Files) -> Self {
        let folder = support::folder();
        let write = |path: String, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let entry = |(path, bytes): (&String, &Vec<u8>)| {
            let lfs = json!({ "sha256": registry::digest_of(bytes).hex(), "size": bytes.len() });
            json!({ "rfilename": path, "size": bytes.len(), "lfs": lfs })
        };
        let siblings: Vec<Value> = files.iter().map(entry).collect();
        let info = json!({ "id": repo, "sha": commit, "siblings": siblings }).to_string();
        for revision in ["main", commit] {
            write(format!("www/api/models/{repo}/revision/{revision}"), info.as_bytes());
        }
        for (path, bytes) in files {
            write(format!("content/{repo}/resolve/{commit}/{path}"), bytes);
        }
        let content = free_port();
        let config = |port: u16| {
            include_str!("mirror.conf")
                .replace("{port}", &port.to_string())
                .replace("{content}", &content.to_string())
        };
        Self::nginx(folder, &config)
    }

    fn nginx(folder: TempDir, config: &dyn Fn(u16) -> String) -> Self {
        let place = format!("{}/", folder.path().display());
        let arguments = ["-p", &place, "-c", "config", "-e", "error.log"];
        let (port, process) = start("nginx", folder.path(), config, &arguments);
        Self { port, folder, process }
    }

    /// Starts nginx in front of a registry. It sends clients to another host for blobs, which refuses logins as
    /// the stores of clouds do.
    pub(super) fn behind_nginx(&self) -> Self {
        let folder = support::folder();
        let content = free_port();
        let (registry, storage) = (self.port, self.folder.path().join("storage"));
        let config = |port: u16| {
            include_str!("nginx.conf")
                .replace("{port}", &port.to_string())
                .replace("{content}", &content.to_string())
                .replace("{registry}", &registry.to_string())
                .replace("{storage}", &storage.display().to_string())
        };
        Self::nginx(folder, &config)
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a program with a configuration for a port that nobody has, and waits until it answers there.
fn start(
    program: &str,
    folder: &Path,
    config: &dyn Fn(u16) -> String,
    arguments: &[&str],
) -> (u16, Child) {
    let port = free_port();
    fs::write(folder.join("config"), config(port)).unwrap();
    let log = File::create(folder.join("server.log")).unwrap();
    // Debian puts some servers where only the administrator looks.
    let script = "PATH=$PATH:/usr/sbin:/sbin exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, program]).args(arguments).current_dir(folder);
    let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    let process = RefCell::new(process.unwrap());
    let has_ended = || process.borrow_mut().try_wait().unwrap().is_some();
    wait_until(program, || TcpStream::connect(("127.0.0.1", port)).is_ok() || has_ended());
    assert!(
        !has_ended(),
        "{program} does not run; Debian's packages docker-registry, nginx-light and openssl have what these tests need, \
         and .ci/run installs them: {}",
        fs::read_to_string(folder.join("server.log")).unwrap()
    );
    (port, process.into_inner())
}
