//! What if a folder is somebody else's, of a later version, or holds links instead of files?

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use registry::{Error, Kept, Prune, Store, digest_of};

use crate::store::{HOURS, age, names, put, store};
use crate::world::name;

/// Makes a folder as Ollama does, with files that no model needs.
fn foreign(folder: &Path) -> Vec<std::path::PathBuf> {
    let blobs = folder.join("blobs");
    fs::create_dir_all(folder.join("manifests")).unwrap();
    fs::create_dir_all(&blobs).unwrap();
    let orphan = digest_of(b"orphan").file_name();
    let part = format!("{orphan}-partial");
    let names = [orphan, part.clone(), format!("{part}-0"), "notes.txt".to_owned()];
    names
        .iter()
        .map(|name| {
            let path = blobs.join(name);
            fs::write(&path, "orphan").unwrap();
            age(&path, HOURS * 24 * 30);
            path
        })
        .collect()
}

#[test]
fn what_others_left_in_their_store_stays() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = foreign(folder.path());
    let store = Store::open(folder.path()).unwrap();
    assert!(!folder.path().join("vecuna.json").exists());
    put(&store, "m", &[("a", "1")]);
    let staged = store.root().join("staging").join(digest_of(b"part").file_name());
    fs::write(&staged, "part").unwrap();
    store.prune_leftovers().unwrap();
    store.prune_unreferenced().unwrap();
    let pruned = store.prune(Prune::default()).unwrap();
    assert_eq!((pruned.kept, pruned.orphans.count), (Some(Kept::Foreign), 0));
    assert_eq!((pruned.partials.count, staged.exists()), (1, false));
    store.remove(&name("m")).unwrap();
    assert!(store.size_of(&digest_of(b"1")).is_none(), "that one we wrote");
    assert!(theirs.iter().all(|path| path.exists()));
    let pruned = store.prune(Prune { all: true, dry_run: false }).unwrap();
    assert_eq!((pruned.kept, pruned.orphans.count, pruned.partials.count), (None, 1, 0));
    assert_eq!(theirs.iter().filter(|path| path.exists()).count(), 3, "only the blob went");
}

#[test]
fn the_format_is_written_once_and_read_always() {
    let (_folder, store) = store();
    let about = store.root().join("vecuna.json");
    assert_eq!(fs::read_to_string(&about).unwrap(), "{\"format\":1}\n");
    put(&store, "m", &[]);
    fs::write(&about, r#"{"format":2,"more":[]}"#).unwrap();
    let open = || Store::open(store.root());
    let text = open().unwrap_err().to_string();
    assert!(text.contains("has format 2, and this version knows none beyond 1"), "{text}");
    let below = tempfile::tempdir().unwrap();
    let over = Store::open(below.path()).unwrap().over(&[store.root().to_owned()]);
    // Below another store it is passed over: the models above are none the worse for it.
    assert!(over.unwrap().names().unwrap().is_empty());
    for text in ["", "{}", r#"{"format":-1}"#, r#"{"format":"1"}"#] {
        fs::write(&about, text).unwrap();
        assert!(matches!(open(), Err(Error::Corrupt(_))), "{text}");
    }
    fs::write(&about, r#"{"format":1,"more":[]}"#).unwrap();
    assert_eq!(names(&open().unwrap()), ["m:latest"]);
}

#[test]
fn the_store_itself_may_be_a_link() {
    let (folder, store) = store();
    put(&store, "m", &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    symlink(folder.path(), &link).unwrap();
    let store = Store::open(&link).unwrap();
    put(&store, "n", &[]);
    assert_eq!(
        (store.root(), store.list().unwrap().len()),
        (&*folder.path().canonicalize().unwrap(), 2)
    );
}

#[test]
fn a_folder_of_the_store_may_be_no_link() {
    for name in ["manifests", "blobs", "staging"] {
        let (folder, store) = store();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::remove_dir(folder.path().join(name)).unwrap();
        symlink(elsewhere.path(), folder.path().join(name)).unwrap();
        let text = Store::open(folder.path()).unwrap_err().to_string();
        assert!(text.contains(&format!("'{name}' in the store")), "{text}");
        // One that becomes a link later is not followed either.
        let stored = store.put_bytes(b"{}");
        assert_eq!(stored.is_ok(), name == "manifests", "{name}: {stored:?}");
        drop(store.prune(Prune { all: true, dry_run: false }));
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn links_among_the_manifests_lead_nowhere() {
    let (folder, store) = store();
    put(&store, "good", &[("a", "1")]);
    put(&store, "h/n/gone", &[("b", "2")]);
    let library = folder.path().join("manifests/registry.ollama.ai/library");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir_all(elsewhere.path().join("n/m")).unwrap();
    fs::copy(library.join("good/latest"), elsewhere.path().join("n/m/latest")).unwrap();
    symlink(elsewhere.path(), folder.path().join("manifests/linked")).unwrap();
    fs::create_dir(library.join("linked")).unwrap();
    symlink(library.join("good/latest"), library.join("linked/latest")).unwrap();
    let mut listed = names(&store);
    listed.sort();
    assert_eq!(listed, ["good:latest", "h/n/gone:latest"]);
    for model in ["linked/n/m", "linked"] {
        assert!(matches!(store.find(&name(model)), Err(Error::NotFound(_))), "{model}");
        assert!(matches!(store.remove(&name(model)), Err(Error::NotFound(_))), "{model}");
    }
    // Neither are they written through: a folder is refused, a file replaced.
    let text = store.copy(&name("good"), &name("linked/n/other")).unwrap_err().to_string();
    assert_eq!(
        text,
        "manifests/linked/n/other/latest: 'linked' is no folder, and links are not followed"
    );
    assert!(!elsewhere.path().join("n/other").exists());
    store.copy(&name("h/n/gone"), &name("linked")).unwrap();
    assert_eq!(
        store.find(&name("good")).unwrap().digest,
        digest_of(&fs::read(library.join("good/latest")).unwrap())
    );
    assert!(library.join("linked/latest").symlink_metadata().unwrap().is_file());
    // Others follow such a link, and may need what it leads to.
    store.remove(&name("good")).unwrap();
    assert!(store.size_of(&digest_of(b"1")).is_some());
    let pruned = store.prune(Prune::default()).unwrap();
    assert_eq!(pruned.kept, Some(Kept::Unreadable));
}

#[test]
fn pipes_and_sockets_are_no_manifests() {
    let (folder, store) = store();
    put(&store, "good", &[]);
    let library = folder.path().join("manifests/registry.ollama.ai/library");
    for model in ["pipe", "socket"] {
        fs::create_dir(library.join(model)).unwrap();
    }
    crate::store::make_pipe(&library.join("pipe/latest"));
    let _socket = std::os::unix::net::UnixListener::bind(library.join("socket/latest")).unwrap();
    assert_eq!(names(&store), ["good:latest"]);
    for model in ["pipe", "socket"] {
        assert!(matches!(store.find(&name(model)), Err(Error::NotFound(_))), "{model}");
    }
}
