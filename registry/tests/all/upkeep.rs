//! What do pruning and verifying remove, and what do they find?

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use registry::{Amount, Error, Kept, Layer, Prune, Pruned, Store, digest_of, media};

use crate::store::{HOURS, age, put, store};
use crate::world::name;

const NOW: Prune = Prune { dry_run: false, all: false };
const MINUTES: Duration = Duration::from_secs(60);

/// Writes a file into a folder of the store that has not changed for a while.
fn old(store: &Store, path: &str, text: &str, by: Duration) -> PathBuf {
    let path = store.root().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    age(&path, by);
    path
}

fn amount(count: u64, bytes: u64) -> Amount {
    Amount { count, bytes }
}

#[test]
fn partials_go_with_their_journals() {
    let (_folder, store) = store();
    let staged = |text: &str| format!("staging/{}", digest_of(text.as_bytes()).file_name());
    let pair = |text: &str, by| {
        let parts = format!("{}.parts", staged(text));
        [old(&store, &staged(text), text, by), old(&store, &parts, "parts", by)]
    };
    let [stale, young, locked] = ["stale", "young", "locked"]
        .map(|text| pair(text, if text == "young" { HOURS * 24 * 6 } else { HOURS * 24 * 8 }));
    let alone = old(&store, &format!("{}.parts", staged("alone")), "parts", HOURS * 2);
    let writer = File::open(&locked[0]).unwrap();
    writer.lock().unwrap();
    let there = |pair: &[PathBuf; 2]| pair.iter().filter(|path| path.exists()).count();
    store.prune_leftovers().unwrap();
    assert_eq!((there(&stale), there(&young), there(&locked), alone.exists()), (0, 2, 2, false));
    let dry = store.prune(Prune { dry_run: true, all: true }).unwrap();
    assert_eq!((dry.partials, there(&young)), (amount(1, 10), 2));
    assert_eq!(store.prune(NOW).unwrap().partials, amount(1, 10));
    assert_eq!((there(&young), there(&locked)), (0, 2));
    drop(writer);
    assert_eq!(store.prune(NOW).unwrap().partials, amount(1, 11));
    assert_eq!(there(&locked), 0);
    // Ollama's lie elsewhere, and take no lock.
    let theirs = format!("blobs/{}-partial", digest_of(b"theirs").file_name());
    let theirs = old(&store, &theirs, "part", HOURS * 99);
    assert_eq!((store.prune(NOW).unwrap().partials, theirs.exists()), (amount(0, 0), true));
}

#[test]
fn space_comes_back_at_once() {
    let (_folder, store) = store();
    put(&store, "m", &[("a", "used")]);
    for text in ["orphan", "used"] {
        store.put_bytes(text.as_bytes()).unwrap();
    }
    let path = |text: &str| store.blob_path(&digest_of(text.as_bytes()));
    let junk = ["blobs/notes.txt", "blobs/sha256-short", "notes.txt"]
        .map(|path| old(&store, path, "junk", HOURS * 99));
    old(&store, "staging/pip-x/wheel", "12345", MINUTES * 11);
    age(&store.root().join("staging/pip-x"), MINUTES * 11);
    let temporary = old(&store, "staging/blob-x", "123", MINUTES * 2);
    age(&path("orphan"), MINUTES * 2);
    age(&path("used"), MINUTES * 2);
    let want = Pruned { temporary: amount(2, 8), orphans: amount(1, 6), ..Pruned::default() };
    assert_eq!(store.prune(Prune { dry_run: true, all: false }).unwrap(), want);
    assert!(temporary.exists() && path("orphan").exists());
    assert_eq!(store.prune(NOW).unwrap(), want);
    assert_eq!(store.prune(NOW).unwrap(), Pruned::default());
    assert_eq!(fs::read_dir(store.root().join("staging")).unwrap().count(), 0);
    assert!(path("used").exists() && junk.iter().all(|path| path.exists()));
}

#[test]
fn who_is_at_work_is_left_in_peace() {
    let (_folder, store) = store();
    let (orphan, _) = store.put_bytes(b"settled by a pull that goes on").unwrap();
    age(&store.blob_path(&orphan), MINUTES * 30);
    let mut staging = store.stage(None).unwrap();
    staging.write(b"not yet settled").unwrap();
    for entry in fs::read_dir(store.root().join("staging")).unwrap() {
        age(&entry.unwrap().path(), HOURS * 2);
    }
    store.prune_leftovers().unwrap();
    assert_eq!(store.prune(NOW).unwrap(), Pruned::default());
    staging.write(b", and now it is").unwrap();
    staging.finish().unwrap();
    assert_eq!(store.prune(NOW).unwrap().orphans.count, 1);
    assert!(store.size_of(&orphan).is_none());
}

#[test]
fn a_damaged_manifest_keeps_what_it_may_name() {
    let (_folder, store) = store();
    put(&store, "m", &[("a", "1")]);
    let manifest = store.manifest_paths(&name("m")).next().unwrap();
    fs::write(&manifest, "{").unwrap();
    let blob = store.blob_path(&digest_of(b"1"));
    age(&blob, HOURS * 9);
    let pruned = store.prune(NOW).unwrap();
    assert_eq!(
        (pruned.kept, pruned.orphans.count, blob.exists()),
        (Some(Kept::Unreadable), 0, true)
    );
}

fn layer(text: &str) -> Layer {
    Layer::new(media::FILE, (digest_of(text.as_bytes()), text.len() as u64))
}

#[test]
fn damage_is_found_and_marked() {
    let (_folder, store) = store();
    let text = "x".repeat(1 << 20);
    put(&store, "m", &[("a", &text)]);
    let (layer, path) = (layer(&text), store.blob_path(&digest_of(text.as_bytes())));
    age(&path, HOURS);
    let manifest = store.find(&name("m")).unwrap().modified;
    let mut seen = Vec::new();
    let mut inspect = |layer: &Layer| {
        store.inspect(layer, &mut |read| {
            seen.push(read);
            true
        })
    };
    inspect(&layer).unwrap();
    assert!(store.is_trusted(&layer, manifest));
    let mut bytes = text.into_bytes();
    bytes[77] ^= 1;
    fs::write(&path, bytes).unwrap();
    age(&path, HOURS);
    assert!(store.is_trusted(&layer, manifest), "nobody has looked");
    assert!(matches!(inspect(&layer), Err(Error::DigestMismatch { .. })));
    assert!(!store.is_trusted(&layer, manifest));
    fs::write(&path, "short").unwrap();
    age(&path, HOURS);
    assert!(matches!(inspect(&layer), Err(Error::Corrupt(_))));
    assert!(!store.is_trusted(&layer, manifest), "its size is another");
    fs::remove_file(&path).unwrap();
    assert!(matches!(inspect(&layer), Err(Error::MissingBlob(_))));
    assert!(!store.is_trusted(&layer, SystemTime::now()));
    assert!(seen.len() > 4 && seen.starts_with(&[0]) && seen.contains(&(1 << 20)));
}

#[test]
fn nobody_needs_to_wait_for_the_end() {
    let (_folder, store) = store();
    put(&store, "m", &[("a", "text")]);
    let stopped = store.inspect(&layer("text"), &mut |_| false);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}
