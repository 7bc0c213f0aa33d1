//! Do archives give back what was saved, and does a hostile or broken one give nothing?

use std::collections::BTreeMap;
use std::fs;

use registry::{Error, Layer, Manifest, Progress, Store, Stored, digest_of, media};
use tar::{EntryType, Header};
use tempfile::TempDir;

use crate::world::name;

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("models")).expect("a store");
    (folder, store)
}

/// Stores a model of these files.
fn put(store: &Store, text: &str, files: &[(&str, &[u8])]) -> Stored {
    let layer =
        |(path, bytes): &(&str, &[u8])| Layer::file(path, store.put_bytes(bytes).expect("a blob"));
    let config = Layer::new(media::CONFIG, store.put_bytes(b"{}").expect("a blob"));
    let manifest = Manifest::new(config, files.iter().map(layer).collect());
    store.commit(&name(text), &manifest).expect("a model")
}

/// A store with two models that share a file.
fn two() -> (TempDir, Store) {
    let (folder, store) = store();
    put(&store, "small", &[("config.json", b"{}"), ("model.safetensors", &[7; 3000])]);
    put(&store, "o/r:v1", &[("config.json", b"{}"), ("model.safetensors", &[7; 3000]), ("a", b"")]);
    (folder, store)
}

fn save(store: &Store, names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|text| name(text)).collect();
    let packed = store.pack(&names).expect("models");
    let mut bytes = Vec::new();
    packed.write(&mut bytes).expect("an archive");
    assert_eq!(bytes.len() as u64, packed.size_bytes());
    bytes
}

fn load(store: &Store, archive: &[u8]) -> Result<Vec<Stored>, Error> {
    store.unpack(archive, &mut |_| {})
}

/// Loads into a new store an archive that must be refused, and returns why.
fn refused(archive: &[u8]) -> String {
    let (folder, store) = store();
    let error = load(&store, archive).expect_err("a refusal").to_string();
    assert_eq!(store.names().expect("names").len(), 0, "{error}");
    let beside = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(beside, 1, "nothing is written beside the store");
    error
}

fn header(path: &str, size: u64, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    // As an attacker writes it, without what the crate checks.
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

/// An archive in the making, entry by entry.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, path: &str, kind: EntryType, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(header(path, bytes.len() as u64, kind).as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, bytes: &[u8]) -> Self {
        self.add(path, EntryType::Regular, bytes)
    }

    fn blob(self, bytes: &[u8]) -> Self {
        self.file(&format!("blobs/sha256/{}", digest_of(bytes).hex()), bytes)
    }

    fn index(self, manifests: &[(&str, &[u8])]) -> Self {
        let named = manifests.iter().map(|(name, bytes)| {
            serde_json::json!({
                "digest": digest_of(bytes).to_string(),
                "size": bytes.len(),
                "annotations": { "org.opencontainers.image.ref.name": name },
            })
        });
        let index =
            serde_json::json!({ "schemaVersion": 2, "manifests": named.collect::<Vec<_>>() });
        self.file("index.json", index.to_string().as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Returns the manifest of a model of one file.
fn manifest(path: &str, bytes: &[u8]) -> Vec<u8> {
    let config = Layer::new(media::CONFIG, (digest_of(b"{}"), 2));
    let file = Layer::file(path, (digest_of(bytes), bytes.len() as u64));
    Manifest::new(config, vec![file]).to_bytes().expect("a manifest")
}

/// Returns an archive of one model, all but its index and its end.
fn one(path: &str, bytes: &[u8]) -> (Tar, Vec<u8>) {
    let manifest = manifest(path, bytes);
    (Tar::default().blob(b"{}").blob(bytes).blob(&manifest), manifest)
}

#[test]
fn what_was_saved_is_loaded() {
    let (_from, from) = two();
    let archive = save(&from, &["small", "O/R:v1", "small"]);
    assert_eq!(archive, save(&from, &["o/r:v1", "small"]), "neither order nor repetition counts");
    let (_to, to) = store();
    let mut lines: Vec<Progress> = Vec::new();
    let models = to.unpack(&archive[..], &mut |line| lines.push(line)).unwrap();
    assert_eq!(models.len(), 2);
    for model in from.list().unwrap() {
        let same = to.find(&model.name).unwrap();
        assert_eq!((same.digest, same.manifest.clone()), (model.digest, model.manifest));
        same.manifest.blobs().for_each(|layer| to.verify(&layer.digest).unwrap());
    }
    assert_eq!(save(&to, &["small", "o/r:v1"]), archive);
    let statuses: Vec<&str> = lines.iter().map(|line| line.status.as_str()).collect();
    let end = ["writing manifest", "loaded small:latest", "loaded o/r:v1", "success"];
    assert_eq!(statuses[statuses.len() - 4..], end);
    let blobs = fs::read_dir(to.root().join("blobs")).unwrap().count();
    assert_eq!(blobs, 3, "config, weights and the empty file; manifests are no blobs");
    assert_eq!(fs::read_dir(to.root().join("staging")).unwrap().count(), 0);
}

#[test]
fn a_model_in_dockers_form_keeps_its_bytes() {
    let (_from, from) = store();
    let config = Layer::new(media::CONFIG, from.put_bytes(b"{}").unwrap());
    let gguf = Layer::new(media::GGUF, from.put_bytes(b"GGUF").unwrap());
    let stored = from.commit(&name("x"), &Manifest::new(config, vec![gguf])).unwrap();
    let (_to, to) = store();
    let models = load(&to, &save(&from, &["x"])).unwrap();
    assert_eq!((models.len(), models[0].digest), (1, stored.digest));
}

#[test]
fn a_model_of_the_same_name_is_replaced() {
    let (_from, from) = two();
    let (_to, to) = store();
    put(&to, "small", &[("config.json", b"{}"), ("model.safetensors", b"old")]);
    load(&to, &save(&from, &["small"])).unwrap();
    assert_eq!(to.find(&name("small")).unwrap().digest, from.find(&name("small")).unwrap().digest);
    assert_eq!(to.size_of(&digest_of(b"old")), None);
    load(&to, &save(&from, &["small"])).unwrap();
}

#[test]
fn a_cut_archive_gives_an_error_and_no_model() {
    let (_from, from) = two();
    let archive = save(&from, &["small", "o/r:v1"]);
    // All that counts is there once the first block of zeros is.
    let whole = archive.len() - 512;
    for length in (0..whole).step_by(241).chain([whole - 1]) {
        let error = refused(&archive[..length]);
        assert!(error.ends_with("it ends too early"), "{length}: {error}");
    }
    let (_to, to) = store();
    assert_eq!(load(&to, &archive[..whole]).unwrap().len(), 2);
}

#[test]
fn a_second_try_needs_only_what_is_missing() {
    let (_to, to) = store();
    let (tar, manifest) = one("config.json", b"weights");
    load(&to, &tar.end()).unwrap_err();
    let rest = Tar::default().blob(&manifest).index(&[("small", &manifest)]).end();
    assert_eq!(load(&to, &rest).unwrap()[0].digest, digest_of(&manifest));
}

#[test]
fn a_damaged_blob_is_neither_saved_nor_kept() {
    let (_from, from) = two();
    let archive = save(&from, &["small"]);
    let weights = digest_of(&[7; 3000]);
    fs::write(from.blob_path(&weights), [8; 3000]).unwrap();
    let packed = from.pack(&[name("small")]).unwrap();
    let error = packed.write(&mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    load(&from, &archive).unwrap();
    from.verify(&weights).unwrap();
    fs::write(from.blob_path(&weights), [7; 2999]).unwrap();
    assert!(from.pack(&[name("small")]).is_err());
    assert!(matches!(from.pack(&[name("nope")]), Err(Error::NotFound(_))));
}

#[test]
fn foreign_archives_in_any_order() {
    let (tar, manifest) = one("config.json", b"weights");
    let first = Tar::default().index(&[("r.example:5000/a/b:c", &manifest)]);
    let index_first = Tar([first.0, tar.0.clone()].concat()).end();
    let index_last = tar.index(&[("r.example:5000/a/b:c", &manifest)]).end();
    let dotted = Tar::default()
        .add("./", EntryType::Directory, b"")
        .add("./blobs/", EntryType::Regular, b"")
        .file("./oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#)
        .file("manifest.json", b"docker's own list")
        .file("blobs/sha512/x", b"another hash")
        .add("pax", EntryType::XGlobalHeader, b"12 a=0123456\n")
        .add("././@LongLink", EntryType::GNULongName, &[b'x'; 300])
        .file("x", b"of a long name")
        .add("pax", EntryType::XHeader, b"13 size=0007\n");
    let digest = digest_of(b"weights").hex();
    let mut dotted = Tar([
        &dotted.0[..],
        header(&format!("blobs/sha256/{digest}"), 0, EntryType::Regular).as_bytes(),
    ]
    .concat());
    dotted.0.extend_from_slice(b"weights");
    dotted.0.resize(dotted.0.len().next_multiple_of(512), 0);
    let dotted = dotted.blob(b"{}").blob(b"{}").blob(&manifest);
    let dotted = dotted.index(&[("r.example:5000/a/b:c", &manifest)]).end();
    for archive in [index_first, index_last, dotted] {
        let (_to, to) = store();
        let models = load(&to, &archive).unwrap();
        assert_eq!(models[0].name.to_string(), "r.example:5000/a/b:c");
        assert_eq!(models[0].digest, digest_of(&manifest));
    }
}

#[test]
fn entries_that_no_honest_archive_has() {
    let (tar, manifest) = one("config.json", b"weights");
    let whole = |tar: Tar| tar.index(&[("m", &manifest)]).end();
    let hex = digest_of(b"weights").hex();
    let link = |kind| whole(tar.clone().add(&format!("blobs/sha256/{hex}"), kind, b""));
    let mut cases: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Char] {
        assert!(refused(&link(kind)).contains("is neither a file nor a folder"));
    }
    assert!(refused(&link(EntryType::GNUSparse)).contains("is neither a file nor a folder"));
    cases.insert(
        "the path '/etc/passwd' is not allowed",
        whole(tar.clone().file("/etc/passwd", b"x")),
    );
    cases.insert("the path 'a/../../b' is not allowed", whole(tar.clone().file("a/../../b", b"x")));
    cases.insert("'x' is no digest", whole(tar.clone().file("blobs/sha256/x", b"x")));
    cases.insert(
        "digest mismatch",
        whole(tar.clone().file(&format!("blobs/sha256/{}", digest_of(b"y").hex()), b"x")),
    );
    cases.insert("has two index.json", whole(tar.clone().index(&[("m", &manifest)])));
    cases.insert("it has no index.json", tar.clone().end());
    cases.insert("its oci-layout", whole(tar.clone().file("oci-layout", b"{}")));
    let later = br#"{"imageLayoutVersion":"2.0.0"}"#;
    cases.insert("a version that is not known", whole(tar.clone().file("oci-layout", later)));
    cases.insert("its index.json", tar.clone().file("index.json", b"[").end());
    let long = vec![b' '; (4 << 20) + 1];
    cases.insert("longer than 4194304 bytes", tar.clone().file("index.json", &long).end());
    let attributes = vec![b' '; (64 << 10) + 1];
    let attributes = tar.clone().add("pax", EntryType::XHeader, &attributes);
    cases.insert("longer than 65536 bytes", attributes.end());
    let many = (0..10_001).fold(Tar::default(), |tar, _| tar.file("x", b""));
    cases.insert("more than 10000 entries", many.end());
    cases.insert("it is no tar archive, or a compressed one", vec![0x1f; 2048]);
    let mut flipped = whole(tar.clone());
    flipped[512 * 2] ^= 1;
    cases.insert("it is damaged", flipped);
    for (reason, archive) in cases {
        let error = refused(&archive);
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn sizes_that_cannot_be() {
    let path = format!("blobs/sha256/{}", digest_of(b"x").hex());
    for (size, reason) in [
        (u64::MAX, "it is damaged"),
        (u64::MAX - 600, "no space left on device: "),
        (8 << 50, "no space left on device: "),
        (1024, "it ends too early"),
    ] {
        let block = header(&path, size, EntryType::Regular);
        let error = refused(&[block.as_bytes(), &[0; 1023][..]].concat());
        assert!(error.contains(reason), "{size}: {error}");
    }
    let skipped = header("x", u64::MAX - 600, EntryType::Regular);
    assert!(refused(&[skipped.as_bytes(), &[0; 4096][..]].concat()).contains("it ends too early"));
}

#[test]
fn models_that_cannot_be() {
    let named = |text: &str| {
        let (tar, manifest) = one("config.json", b"weights");
        refused(&tar.index(&[(text, &manifest)]).end())
    };
    for text in ["", "../x", "a/b/c/d", "x:y:z", "a b", "\u{1b}[2J"] {
        let error = named(text);
        assert!(error.starts_with("the archive cannot be used: '"), "{text}: {error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
    let (tar, manifest) = one("../../x", b"weights");
    let error = refused(&tar.index(&[("m", &manifest)]).end());
    assert_eq!(error, "file name '../../x' is not allowed");
    let (tar, manifest) = one("config.json", b"weights");
    let error = refused(&tar.clone().index(&[("m", &manifest), ("M:latest", &manifest)]).end());
    assert!(error.ends_with("names 'M:latest' twice"), "{error}");
    let error = refused(&tar.clone().index(&[]).end());
    assert!(error.ends_with("its index names no model"), "{error}");
    let names: Vec<String> = (0..1_001).map(|number| format!("m{number}")).collect();
    let many: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), &manifest[..])).collect();
    let error = refused(&tar.clone().index(&many).end());
    assert!(error.ends_with("it has more than 1000 models"), "{error}");
    let error = refused(&Tar::default().blob(b"[]").index(&[("m", b"[]")]).end());
    assert!(error.contains("the manifest of 'm:latest': "), "{error}");
    let error = refused(&Tar::default().index(&[("m", b"gone")]).end());
    assert!(error.ends_with("is missing"), "{error}");
    let error = refused(&Tar::default().blob(&manifest).index(&[("m", &manifest)]).end());
    assert!(error.ends_with("is missing"), "{error}");
    let image = String::from_utf8(manifest).unwrap().replace("vnd.vecuna.file", "vnd.oci.layer");
    let error = refused(&tar.blob(image.as_bytes()).index(&[("m", image.as_bytes())]).end());
    assert!(error.ends_with("'m:latest' is not a model"), "{error}");
}

/// One model that cannot be used keeps the others of its archive from their names.
#[test]
fn all_models_come_or_none() {
    let (tar, manifest) = one("config.json", b"weights");
    let half = self::manifest("config.json", b"is not there");
    let tar = tar.blob(&half).index(&[("whole", &manifest), ("half", &half)]);
    assert!(refused(&tar.end()).ends_with("is missing"));
}

/// A blob that only a model has which the archive replaces serves another model of the archive all the same.
#[test]
fn a_replaced_model_leaves_what_its_neighbour_needs() {
    let (_folder, store) = store();
    put(&store, "a", &[("config.json", b"shared")]);
    let (tar, new) = one("config.json", b"new");
    let neighbour = manifest("other.json", b"shared");
    let tar = tar.blob(&neighbour).index(&[("a", &new), ("b", &neighbour)]);
    load(&store, &tar.end()).unwrap();
    for (model, digest) in [("a", digest_of(b"new")), ("b", digest_of(b"shared"))] {
        let stored = store.find(&name(model)).unwrap();
        assert_eq!(stored.manifest.layers[0].digest, digest);
        assert_eq!(store.files(&stored).unwrap().len(), 1, "{model}");
    }
}
