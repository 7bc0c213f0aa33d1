//! Does install.sh install, describe a service that systemd or launchd accepts, and leave nothing behind?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{checkout, folder, succeed};

const SERVICE: &str = if cfg!(target_os = "macos") {
    "lib/launchd/vecuna.plist"
} else {
    "lib/systemd/system/vecuna.service"
};

fn install(prefix: &Path) -> Command {
    let mut command = Command::new("sh");
    command.arg(checkout("install.sh")).arg("--prefix").arg(prefix);
    command
}

fn install_binary(prefix: &Path) -> Command {
    let mut command = install(prefix);
    command.args(["--binary", env!("CARGO_BIN_EXE_vecuna")]);
    command
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn shellcheck_finds_nothing() {
    succeed(Command::new("shellcheck").arg(checkout("install.sh")));
}

#[test]
fn installs_and_uninstalls() {
    let prefix = folder();
    let (_, said) = succeed(&mut install_binary(prefix.path()));
    assert!(said.lines().all(|line| line.starts_with(">>> ")), "{said}");
    let binary = prefix.path().join("bin/vecuna");
    assert!(said.contains(&format!("run '{} serve'", binary.display())), "{said}");
    let (version, _) =
        succeed(Command::new(&binary).arg("--version").env("VECUNA_HOST", "127.0.0.1:1"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    assert!(prefix.path().join(SERVICE).is_file());
    succeed(&mut install_binary(prefix.path()));
    succeed(install(prefix.path()).arg("--uninstall"));
    assert!(is_empty(prefix.path()), "--uninstall left something");
    succeed(install(prefix.path()).args(["--uninstall", "--purge"]));
}

#[test]
fn a_dry_run_does_nothing() {
    let prefix = folder();
    let (service, said) = succeed(install_binary(prefix.path()).arg("--dry-run"));
    assert!(is_empty(prefix.path()));
    assert!(said.contains(">>> would run: cp "), "{said}");
    assert!(service.contains("serve"), "{service}");
    let (_, said) = succeed(install(prefix.path()).arg("--dry-run"));
    assert!(said.contains(">>> would run: cargo build --release"), "{said}");
}

#[test]
fn a_dry_run_for_the_machine_names_the_user_and_the_unit() {
    if cfg!(target_os = "macos") {
        return;
    }
    let binary =
        ["--binary", env!("CARGO_BIN_EXE_vecuna"), "--dry-run", "--user", "vecuna-of-a-test"];
    let (unit, said) = succeed(Command::new("sh").arg(checkout("install.sh")).args(binary));
    assert!(
        said.contains("useradd --system") && said.contains("/etc/systemd/system/vecuna.service"),
        "{said}"
    );
    for line in ["User=vecuna-of-a-test", "ExecStart=\"/usr/local/bin/vecuna\" serve"] {
        assert!(unit.lines().any(|other| other == line), "{line} is missing:\n{unit}");
    }
}

#[test]
fn the_unit_is_hardened_and_lets_the_gpu_work() {
    if cfg!(target_os = "macos") {
        return;
    }
    let prefix = folder();
    succeed(&mut install_binary(prefix.path()));
    let path = prefix.path().join(SERVICE);
    let unit = fs::read_to_string(&path).unwrap();
    for line in [
        "Type=notify",
        "Restart=always",
        "StateDirectory=vecuna",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    ] {
        assert!(unit.lines().any(|other| other == line), "{line} is missing:\n{unit}");
    }
    assert!(!unit.contains("VECUNA_MODELS"), "it would override the configuration file:\n{unit}");
    for setting in
        ["PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "MemoryDenyWriteExecute"]
    {
        assert!(!unit.contains(setting), "{setting} hides the GPU or stops its driver:\n{unit}");
    }
    if Command::new("systemd-analyze").arg("--version").output().is_ok() {
        let (_, complaints) =
            succeed(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path));
        assert!(!complaints.contains("vecuna.service"), "{complaints}");
    }
}

#[test]
fn wrong_use_is_refused_with_a_reason() {
    let prefix = folder();
    for (arguments, reason) in [
        (&["--colour"][..], "unknown option '--colour'"),
        (&["--binary"], "option '--binary' needs a value"),
        (&["--purge"], "--purge goes with --uninstall"),
        (&["--user", "a b"], "'a b' is no user name"),
        (&["--binary", "/etc/hosts"], "'/etc/hosts' does not run on this machine"),
    ] {
        let output = install(prefix.path()).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!(">>> error: {reason}")), "{said}");
        assert!(is_empty(prefix.path()));
    }
}
