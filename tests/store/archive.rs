//! Do models travel in one file, in process and through a daemon, and does a broken file leave nothing?

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use super::hub::Hub;
use super::machine::{Machine, Outcome};
use super::models::{padded, small};
use super::space::in_own_mounts;
use crate::support::{self, Daemon};

/// A user without a hub.
fn alone() -> Machine {
    Machine::new(&Hub::start(&[]))
}

/// A user who has two models.
fn owner() -> Machine {
    let hub = Hub::start(&[("o/r@main", padded(1)), ("o/small@main", small("bert-plain"))]);
    let machine = Machine::new(&hub);
    machine.run("pull hf.co/o/r").done();
    machine.run("pull hf.co/o/small").done();
    machine
}

/// Runs a command through a daemon.
fn through(daemon: &Daemon, machine: &Machine, line: &str) -> Outcome {
    machine.vecuna(line).env("VECUNA_HOST", &daemon.url).output().unwrap().into()
}

/// Checks that both models are those of another machine, and run.
fn check(machine: &Machine, of: &Machine) {
    for name in ["hf.co/o/r", "hf.co/o/small"] {
        assert_eq!(machine.whole(name).digest, of.whole(name).digest);
    }
    assert_eq!(machine.vector("hf.co/o/r"), of.vector("hf.co/o/r"));
}

#[test]
fn models_travel_in_one_file() {
    let from = owner();
    from.run("save hf.co/o/r hf.co/o/small -o m.tar").done();
    let archive = from.folder.path().join("m.tar");
    let to = alone();
    fs::copy(&archive, to.folder.path().join("m.tar")).unwrap();
    let told = to.run("load m.tar");
    assert!(told.stderr.ends_with("loaded hf.co/o/small:latest\nsuccess\n"), "{told:?}");
    check(&to, &from);
    to.run("load -i m.tar").done();

    let piped = alone();
    let script = format!(
        "VECUNA_MODELS={} {1} save hf.co/o/small hf.co/o/r | {1} load",
        from.models().display(),
        env!("CARGO_BIN_EXE_vecuna")
    );
    Outcome::from(piped.sh(&script).output().unwrap()).done();
    check(&piped, &from);
}

#[test]
fn models_travel_through_a_daemon() {
    let (from, to) = (owner(), alone());
    let (source, target) = (from.daemon(), to.daemon());
    through(&source, &from, "save hf.co/o/small hf.co/o/r -o m.tar").done();
    from.run("save hf.co/o/r hf.co/o/small -o same.tar").done();
    let read = |name: &str| fs::read(from.folder.path().join(name)).unwrap();
    let archive = read("m.tar");
    assert!(archive == read("same.tar"));
    let (status, _, text) = support::http(&target.url, "POST", "/api/load", &[], &archive);
    assert_eq!(status, 200);
    assert!(text.ends_with("{\"status\":\"success\"}\n"), "{text}");
    check(&to, &from);
    let (status, _, text) = support::http(&target.url, "POST", "/api/load", &[], b"nonsense");
    let want = r#"{"error":"the archive cannot be used: it ends too early"}"#;
    assert_eq!((status, text.as_str()), (400, want));
    for (request, want) in [
        (r#"{"models":["nope"]}"#, (404, r#"{"error":"model 'nope:latest' not found"}"#)),
        (r#"{"models":["a b"]}"#, (400, r#"{"error":"invalid model name"}"#)),
        ("{}", (400, r#"{"error":"models is required"}"#)),
    ] {
        let (status, _, text) =
            support::http(&source.url, "POST", "/api/save", &[], request.as_bytes());
        assert_eq!((status, text.as_str()), want, "{request}");
    }
}

/// The tar of the system packs a layout that it has unpacked, as other tools write them.
#[test]
fn other_tools_read_and_write_archives() {
    let (from, to) = (owner(), alone());
    from.run("save hf.co/o/r hf.co/o/small -o m.tar").done();
    let folder = from.folder.path();
    fs::create_dir(folder.join("layout")).unwrap();
    let tar = |arguments: &[&str]| {
        support::succeed(Command::new("tar").current_dir(folder).args(arguments));
    };
    tar(&["-xf", "m.tar", "-C", "layout"]);
    for blob in fs::read_dir(folder.join("layout/blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let (digest, _) = registry::digest_file(&path).unwrap();
        assert!(path.ends_with(digest.hex()));
    }
    tar(&["-cf", "again.tar", "-C", "layout", "."]);
    let mut load = to.vecuna("load");
    load.stdin(File::open(folder.join("again.tar")).unwrap());
    Outcome::from(load.output().unwrap()).done();
    check(&to, &from);
}

#[test]
fn a_broken_archive_leaves_nothing() {
    let (from, to) = (owner(), alone());
    from.run("save hf.co/o/r -o m.tar").done();
    let archive = fs::read(from.folder.path().join("m.tar")).unwrap();
    let daemon = to.daemon();
    fs::write(to.folder.path().join("cut.tar"), &archive[..archive.len() / 2]).unwrap();
    let ends = "Error: the archive cannot be used: it ends too early";
    assert_eq!(to.run("load cut.tar").complaint(), ends);
    assert_eq!(through(&daemon, &to, "load cut.tar").complaint(), ends);
    let mut flipped = archive.clone();
    let last = flipped.len() - 4000;
    flipped[last] ^= 1;
    fs::write(to.folder.path().join("flipped.tar"), &flipped).unwrap();
    assert_eq!(to.run("load flipped.tar").code, Some(1));
    let missing = to.run("load nowhere.tar").complaint();
    assert!(missing.starts_with("Error: cannot read 'nowhere.tar': "), "{missing}");
    assert!(to.list().is_empty());
    assert_eq!(to.entries("staging").len(), 0);

    let unknown = from.run("save hf.co/o/r nope -o other.tar").complaint();
    assert_eq!(unknown, "Error: model 'nope:latest' not found");
    assert!(!from.folder.path().join("other.tar").exists());
    let blob = from.blob("hf.co/o/r", "model.safetensors");
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    fs::write(&blob, bytes).unwrap();
    from.run("save hf.co/o/r -o m.tar").complaint();
    assert!(fs::read(from.folder.path().join("m.tar")).unwrap() == archive, "the old one stays");
}

#[test]
fn a_full_disk_and_a_store_that_nobody_may_write() {
    let (from, to) = (owner(), alone());
    from.run("save hf.co/o/r -o m.tar").done();
    fs::copy(from.folder.path().join("m.tar"), to.folder.path().join("m.tar")).unwrap();
    let load = format!("{} load m.tar", env!("CARGO_BIN_EXE_vecuna"));
    for (mount, want) in [
        ("mount -t tmpfs -o size=1m none models", "no space left on device"),
        ("mount -t tmpfs -o ro none models", "Read-only file system"),
    ] {
        let Some(outcome) = in_own_mounts(&to, &format!("mkdir -p models && {mount}"), &load)
        else {
            return;
        };
        let complaint = outcome.complaint();
        assert!(complaint.contains(want), "{complaint}");
    }
}

/// Returns the most memory that a daemon has had, in KiB.
#[cfg(target_os = "linux")]
fn peak(daemon: &Daemon) -> u64 {
    let status =
        fs::read_to_string(Path::new("/proc").join(daemon.id().to_string()).join("status"));
    let status = status.unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn memory_stays_small_whatever_the_size() {
    use registry::{Layer, Manifest, media};

    const SIZE: u64 = 300 << 20;
    const LIMIT_KIB: u64 = 64 << 10;
    let (from, to) = (alone(), alone());
    let store = from.store();
    let sparse = from.folder.path().join("sparse");
    File::create(&sparse).unwrap().set_len(SIZE).unwrap();
    let blob = registry::digest_file(&sparse).unwrap();
    fs::rename(&sparse, store.blob_path(&blob.0)).unwrap();
    let config = Layer::new(media::CONFIG, store.put_bytes(b"{}").unwrap());
    let name = modelfiles::Name::parse("big").unwrap();
    let manifest = Manifest::new(config, vec![Layer::file("model.safetensors", blob)]);
    let stored = store.commit(&name, &manifest).unwrap();
    let (source, target) = (from.daemon(), to.daemon());
    let mut save = from.vecuna("save big");
    save.env("VECUNA_HOST", &source.url).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut save = save.spawn().unwrap();
    let mut load = to.vecuna("load");
    load.env("VECUNA_HOST", &target.url).stdin(save.stdout.take().unwrap());
    Outcome::from(load.output().unwrap()).done();
    assert!(save.wait().unwrap().success());
    assert_eq!(to.store().find(&name).unwrap().digest, stored.digest);
    for daemon in [&source, &target] {
        assert!(peak(daemon) < LIMIT_KIB, "{} KiB", peak(daemon));
    }
}
