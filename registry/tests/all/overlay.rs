//! Are models of shared stores used, hidden by ours, and never changed?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use registry::{Error, Prune, Store, digest_of};
use tempfile::TempDir;

use crate::store::{names, put};
use crate::world::name;

/// Every file of a folder, with its time and its bytes.
type Snapshot = BTreeMap<PathBuf, (SystemTime, Vec<u8>)>;

fn snapshot(folder: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            found.extend(snapshot(&path));
        }
        found.insert(path.clone(), (modified, fs::read(path).unwrap_or_default()));
    }
    found
}

/// A store of ours over a shared one with the models `both` and `theirs`; the last folder is the shared one.
fn over() -> (TempDir, Store, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [own, shared] = ["own", "shared"].map(|name| folder.path().join(name));
    let below = Store::open(&shared).unwrap();
    put(&below, "theirs", &[("a", "shared")]);
    put(&below, "both", &[("a", "below")]);
    let store = Store::open(own).unwrap().over(std::slice::from_ref(&shared)).unwrap();
    put(&store, "BOTH", &[("a", "above")]);
    (folder, store, shared)
}

fn text(store: &Store, model: &str) -> String {
    let files = store.files(&store.find(&name(model)).unwrap()).unwrap();
    fs::read_to_string(&files["a"]).unwrap()
}

#[test]
fn ours_hides_theirs() {
    let (_folder, store, shared) = over();
    let mut listed = names(&store);
    listed.sort();
    assert_eq!(listed, ["both:latest", "theirs:latest"], "the name is spelled as below");
    assert_eq!([text(&store, "Both"), text(&store, "THEIRS")], ["above", "shared"]);
    let digest = digest_of(b"shared");
    assert!(store.blob_path(&digest).starts_with(shared.canonicalize().unwrap()));
    assert_eq!(
        (store.size_of(&digest), store.read_blob(&digest, 9).unwrap()),
        (Some(6), b"shared".to_vec())
    );
    store.verify(&digest).unwrap();
    store.remove(&name("both")).unwrap();
    assert_eq!(text(&store, "both"), "below", "it comes to light again");
}

#[test]
fn nothing_below_is_changed() {
    let (_folder, store, shared) = over();
    let before = snapshot(&shared);
    // It is all there, so nothing is written but a manifest.
    put(&store, "mine", &[("a", "shared")]);
    store.copy(&name("theirs"), &name("copied")).unwrap();
    assert_eq!([text(&store, "mine"), text(&store, "copied")], ["shared", "shared"]);
    assert!(!store.root().join("blobs").join(digest_of(b"shared").file_name()).exists());
    for model in ["mine", "copied", "both"] {
        store.remove(&name(model)).unwrap();
    }
    for model in ["theirs", "both"] {
        let error = store.remove(&name(model)).unwrap_err();
        assert!(matches!(error, Error::Shared(_)), "{error}");
        let want = format!("model '{model}:latest' is in the shared store, which is read-only");
        assert_eq!(error.to_string(), want);
    }
    store.prune(Prune { all: true, dry_run: false }).unwrap();
    store.prune_unreferenced().unwrap();
    assert_eq!(snapshot(&shared), before);
}

#[test]
fn a_damaged_blob_below_is_hidden_by_a_good_one() {
    let (_folder, store, shared) = over();
    let digest = digest_of(b"shared");
    fs::write(shared.join("blobs").join(digest.file_name()), "shareD").unwrap();
    let before = snapshot(&shared);
    assert!(matches!(store.verify(&digest), Err(Error::DigestMismatch { .. })));
    assert_eq!(store.put_bytes(b"shared").unwrap(), (digest, 6));
    store.verify(&digest).unwrap();
    assert_eq!((text(&store, "theirs").as_str(), snapshot(&shared)), ("shared", before));
}

#[test]
fn a_shared_store_may_be_missing_damaged_or_ours() {
    let (folder, store, shared) = over();
    let missing = folder.path().join("missing");
    let store =
        store.over(&[missing.clone(), shared.clone(), folder.path().join("own"), shared]).unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    put(&Store::open(&missing).unwrap(), "late", &[]);
    assert_eq!(store.list().unwrap().len(), 3);
    fs::remove_dir_all(missing.join("manifests")).unwrap();
    fs::write(missing.join("manifests"), "no folder").unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
}
