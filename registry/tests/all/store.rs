//! Does the store hold models safely, whatever lies in its folders?

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use modelfiles::Digest;
use registry::{Error, Layer, Manifest, Store, digest_of, media};
use tempfile::TempDir;

use crate::world::name;

/// An hour.
pub(crate) const HOURS: Duration = Duration::from_secs(3600);

pub(crate) fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    (folder, store)
}

/// Stores a model of these files.
pub(crate) fn put(store: &Store, text: &str, files: &[(&str, &str)]) {
    let layers = files
        .iter()
        .map(|(path, text)| Layer::file(path, store.put_bytes(text.as_bytes()).expect("a blob")));
    let layers = layers.collect();
    let config = Layer::new(media::CONFIG, store.put_bytes(b"{}").expect("a blob"));
    store.commit(&name(text), &Manifest::new(config, layers)).expect("a model");
}

pub(crate) fn names(store: &Store) -> Vec<String> {
    store.list().expect("a list").iter().map(|model| model.name.to_string()).collect()
}

pub(crate) fn write_manifest(store: &Store, path: &str, text: &str) {
    let path = store.root().join("manifests").join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("a file");
}

pub(crate) fn age(path: &Path, by: Duration) {
    let file = fs::File::open(path).expect("a file");
    file.set_modified(SystemTime::now() - by).expect("a time");
}

#[test]
fn a_model_is_found_whatever_its_case() {
    let (_folder, store) = store();
    put(&store, "Some/Model:Tag", &[("a", "1"), ("b/c", "22")]);
    let model = store.find(&name("some/MODEL:tag")).unwrap();
    assert_eq!(model.name.to_string(), "Some/Model:Tag");
    assert_eq!(model.manifest.size_bytes(), 1 + 2 + 2);
    let path = store.root().join("manifests/registry.ollama.ai/Some/Model/Tag");
    assert_eq!(model.digest, digest_of(&fs::read(path).unwrap()));
    let files = store.files(&model).unwrap();
    assert_eq!(fs::read(&files["b/c"]).unwrap(), b"22");
    assert_eq!(store.existing(&name("SOME/other:TAG")).unwrap().to_string(), "Some/other:Tag");
    assert!(matches!(store.find(&name("some/model")), Err(Error::NotFound(_))));
    put(&store, "SOME/model:TAG", &[("a", "3")]);
    assert_eq!(names(&store), ["Some/Model:Tag"]);
}

#[test]
fn the_newest_model_comes_first() {
    let (_folder, store) = store();
    for (text, minutes) in [("b", 2), ("a", 2), ("c", 1), ("d", 3)] {
        put(&store, text, &[]);
        let path = format!("manifests/registry.ollama.ai/library/{text}/latest");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 - minutes * 60);
        fs::File::open(store.root().join(path)).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(names(&store), ["c:latest", "a:latest", "b:latest", "d:latest"]);
}

#[test]
fn shared_blobs_stay_until_the_last_model_goes() {
    let (_folder, store) = store();
    put(&store, "one", &[("a", "shared"), ("b", "own")]);
    put(&store, "x/two", &[("a", "shared")]);
    store.copy(&name("ONE"), &name("three")).unwrap();
    let [shared, own] = ["shared", "own"].map(|text| digest_of(text.as_bytes()));
    assert_eq!(
        store.find(&name("three")).unwrap().digest,
        store.find(&name("one")).unwrap().digest
    );
    store.remove(&name("one")).unwrap();
    assert!(store.size_of(&own).is_some() && store.size_of(&shared).is_some());
    store.remove(&name("Three")).unwrap();
    assert!(store.size_of(&own).is_none() && store.size_of(&shared).is_some());
    store.remove(&name("x/two")).unwrap();
    assert_eq!(fs::read_dir(store.root().join("blobs")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.root().join("manifests")).unwrap().count(), 0);
    assert!(matches!(store.remove(&name("one")), Err(Error::NotFound(_))));
    assert!(matches!(store.copy(&name("one"), &name("two")), Err(Error::NotFound(_))));
}

#[test]
fn an_upload_is_a_blob_only_when_its_digest_is_right() {
    let (_folder, store) = store();
    let want = digest_of(b"right");
    let mut staging = store.stage(Some(want)).unwrap();
    staging.write(b"wr").unwrap();
    staging.write(b"ong").unwrap();
    match staging.finish() {
        Err(Error::DigestMismatch { got, .. }) => assert_eq!(got, digest_of(b"wrong")),
        other => panic!("{other:?}"),
    }
    let mut staging = store.stage(Some(want)).unwrap();
    staging.write(b"ri").unwrap();
    drop(staging);
    assert_eq!(fs::read_dir(store.root().join("blobs")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.root().join("staging")).unwrap().count(), 0);
    assert_eq!(store.put_bytes(b"right").unwrap(), (want, 5));
    let mode = fs::metadata(store.blob_path(&want)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn small_bytes_repair_a_damaged_blob() {
    let (_folder, store) = store();
    let (digest, _) = store.put_bytes(b"right").unwrap();
    fs::write(store.blob_path(&digest), "wrong").unwrap();
    store.put_bytes(b"right").unwrap();
    store.verify(&digest).unwrap();
}

#[test]
fn a_copy_over_a_model_releases_its_blobs() {
    let (_folder, store) = store();
    put(&store, "one", &[("a", "new"), ("b", "both")]);
    put(&store, "two", &[("a", "old"), ("b", "both")]);
    store.copy(&name("one"), &name("two")).unwrap();
    let is_there = |text: &str| store.size_of(&digest_of(text.as_bytes())).is_some();
    assert!(is_there("new") && is_there("both") && !is_there("old"));
}

#[test]
fn a_model_that_goes_while_it_is_opened_is_not_found() {
    let (_folder, store) = store();
    put(&store, "m", &[("a", "1")]);
    let model = store.find(&name("m")).unwrap();
    store.remove(&name("m")).unwrap();
    assert!(matches!(store.files(&model), Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_pump_writes_in_order() {
    let (_folder, store) = store();
    let pump = store.stage(None).unwrap().pump();
    for number in 0..100_u8 {
        assert!(pump.send(vec![number; 1000].into()).await);
    }
    let (digest, size) = pump.finish().await.unwrap();
    let want: Vec<u8> = (0..100).flat_map(|number| [number; 1000]).collect();
    assert_eq!((digest, size), (digest_of(&want), 100_000));
}

#[test]
fn a_manifest_is_refused_before_its_blobs() {
    let (_folder, store) = store();
    let config = Layer::new(media::CONFIG, store.put_bytes(b"{}").unwrap());
    let missing = Layer::file("a", (digest_of(b"missing"), 7));
    let commit =
        |layer: Layer| store.commit(&name("a"), &Manifest::new(config.clone(), vec![layer]));
    assert!(matches!(commit(missing), Err(Error::MissingBlob(_))));
    let wrong_size = Layer::file("a", (config.digest, 3));
    assert!(matches!(commit(wrong_size), Err(Error::Corrupt(_))));
    assert_eq!(names(&store), [""; 0]);
}

#[test]
fn hostile_manifests_and_names_are_passed_over() {
    let (_folder, store) = store();
    put(&store, "good", &[("a", "1")]);
    let digest = digest_of(b"1");
    let library = "registry.ollama.ai/library";
    for (model, text) in [
        ("empty", String::new()),
        ("list", "[]".to_owned()),
        ("deep", "[".repeat(100_000)),
        ("no-config", r#"{"schemaVersion":2,"layers":[]}"#.to_owned()),
        (
            "escape",
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1}}"#.to_owned(),
        ),
        ("size", format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}","size":-1}}}}"#)),
    ] {
        write_manifest(&store, &format!("{library}/{model}/latest"), &text);
        assert!(matches!(store.find(&name(model)), Err(Error::Corrupt(_))), "{model}");
    }
    let manifest =
        fs::read_to_string(store.root().join("manifests").join(library).join("good/latest"))
            .unwrap();
    for path in
        ["too/few/levels", "one/too/many/levels/here", "h/n/m/.hidden", "h/n.n/m/t", "h/n/m/a b"]
    {
        write_manifest(&store, path, &manifest);
    }
    fs::create_dir_all(store.root().join("manifests/h/n/m/folder")).unwrap();
    write_manifest(&store, "h/n/huge/t", &" ".repeat(9 << 20));
    assert_eq!(names(&store), ["good:latest"]);
}

#[test]
fn hostile_file_names_give_no_files() {
    let (_folder, store) = store();
    let blob = store.put_bytes(b"1").unwrap();
    let config = Layer::new(media::CONFIG, blob);
    for layers in [
        vec![Layer::file("/etc/passwd", blob)],
        vec![Layer::file("a/../../b", blob)],
        vec![Layer::file("", blob)],
        vec![Layer::new(media::FILE, blob)],
        vec![Layer::file("a", blob), Layer::file("a", blob)],
    ] {
        let model = store.commit(&name("m"), &Manifest::new(config.clone(), layers)).unwrap();
        assert!(matches!(store.files(&model), Err(Error::Corrupt(_))));
    }
}

#[test]
fn a_damaged_manifest_protects_all_blobs_and_can_be_removed() {
    let (_folder, store) = store();
    put(&store, "good", &[("a", "1")]);
    write_manifest(&store, "registry.ollama.ai/library/bad/latest", "{");
    store.remove(&name("good")).unwrap();
    assert!(store.size_of(&digest_of(b"1")).is_some());
    store.remove(&name("bad")).unwrap();
    assert_eq!(fs::read_dir(store.root().join("manifests")).unwrap().count(), 0);
}

#[test]
fn a_flipped_bit_a_cut_and_a_lost_blob_are_noticed() {
    let (_folder, store) = store();
    put(&store, "m", &[("a", "weights")]);
    let digest = digest_of(b"weights");
    store.verify(&digest).unwrap();
    fs::write(store.blob_path(&digest), "weightr").unwrap();
    assert!(matches!(store.verify(&digest), Err(Error::DigestMismatch { .. })));
    fs::write(store.blob_path(&digest), "weight").unwrap();
    let model = store.find(&name("m")).unwrap();
    assert!(matches!(store.files(&model), Err(Error::Corrupt(_))));
    fs::remove_file(store.blob_path(&digest)).unwrap();
    assert!(matches!(store.files(&model), Err(Error::MissingBlob(_))));
    assert!(matches!(store.verify(&digest), Err(Error::MissingBlob(_))));
    assert_eq!(names(&store), ["m:latest"]);
}

#[test]
fn links_and_pipes_are_no_blobs() {
    let (folder, store) = store();
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let refused = |digest: &Digest| {
        assert!(store.size_of(digest).is_none());
        assert!(matches!(store.read_blob(digest, 100), Err(Error::MissingBlob(_))));
        assert!(matches!(store.verify(digest), Err(Error::MissingBlob(_))));
    };
    let link = digest_of(b"secret");
    symlink(&secret, store.blob_path(&link)).unwrap();
    refused(&link);
    let pipe = digest_of(b"pipe");
    make_pipe(&store.blob_path(&pipe));
    refused(&pipe);
    let directory = digest_of(b"directory");
    fs::create_dir(store.blob_path(&directory)).unwrap();
    refused(&directory);
    store.put_bytes(b"secret").unwrap();
    assert!(!fs::symlink_metadata(store.blob_path(&link)).unwrap().is_symlink());
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
}

pub(crate) fn make_pipe(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(status.success());
}

#[test]
fn blobs_longer_than_the_limit_are_not_read() {
    let (_folder, store) = store();
    let (digest, _) = store.put_bytes(b"12345").unwrap();
    assert_eq!(store.read_blob(&digest, 5).unwrap(), b"12345");
    assert!(matches!(store.read_blob(&digest, 4), Err(Error::Corrupt(_))));
}

#[test]
fn leftovers_go_when_they_are_old() {
    let (_folder, store) = store();
    put(&store, "m", &[("a", "used")]);
    let (orphan, _) = store.put_bytes(b"orphan").unwrap();
    let (fresh, _) = store.put_bytes(b"fresh").unwrap();
    let [old_partial, young_partial] = [b"one", b"two"].map(|bytes| {
        let path = store.root().join("staging").join(digest_of(bytes).file_name());
        fs::write(&path, "part").unwrap();
        path
    });
    let temporary = store.root().join("staging/blob-x");
    fs::create_dir(store.root().join("staging/pip-x")).unwrap();
    let inner = store.root().join("staging/pip-x/wheel");
    for path in [&temporary, &inner] {
        fs::write(path, "x").unwrap();
    }
    let notes = store.root().join("blobs/notes.txt");
    fs::write(&notes, "x").unwrap();
    for path in [
        &store.blob_path(&orphan),
        &temporary,
        &notes,
        &young_partial,
        &store.blob_path(&digest_of(b"used")),
    ] {
        age(path, HOURS * 2);
    }
    age(&old_partial, HOURS * 24 * 8);
    store.prune_leftovers().unwrap();
    store.prune_unreferenced().unwrap();
    assert!(!temporary.exists() && !old_partial.exists() && store.size_of(&orphan).is_none());
    assert!(inner.exists() && young_partial.exists() && notes.exists());
    assert!(store.size_of(&fresh).is_some() && store.size_of(&digest_of(b"used")).is_some());
}

#[test]
fn a_store_that_is_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "x").unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Io { .. })));
}
