//! Are files of other places on this machine used before the network, checked, and left as they are?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use modelfiles::Origin;
use registry::{Layer, Manifest, Settings, Store, digest_of, media};
use tempfile::TempDir;

use crate::hub::{Files, Hub, Listing};
use crate::world::{World, model, name, settings, weights};

const NOWHERE: &str = "http://127.0.0.1:9";
const WEIGHTS: &str = "model.safetensors";
const COMMIT: &str = "abcdef0123456789abcdef0123456789abcdef01";
const ETAG: &str = "0123456789012345678901234567890123456789";

/// Writes a repository as Hugging Face's tools cache it, and returns its folder.
fn cache(place: &Path, files: &Files) -> PathBuf {
    let root = place.join("models--o--r");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("refs/main", COMMIT.as_bytes());
    for (number, (path, (bytes, _))) in files.0.iter().enumerate() {
        // Only of files in LFS the hub tells a SHA-256.
        let is_large = path.ends_with(".safetensors");
        let etag =
            if is_large { digest_of(bytes).hex() } else { format!("{number}{}", &ETAG[1..]) };
        put(&format!("blobs/{etag}"), bytes);
        let link = root.join("snapshots").join(COMMIT).join(path);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let up = "../".repeat(path.matches('/').count() + 2);
        symlink(format!("{up}blobs/{etag}"), link).unwrap();
    }
    root
}

/// A world whose hub is the given one, with a cache.
fn with_cache(endpoint: &str, place: &TempDir) -> World {
    World::new(Settings { hub_cache: Some(place.path().to_owned()), ..settings(endpoint) })
}

/// What must not change of a donor.
fn looks(path: &Path) -> (u32, u64, SystemTime, Vec<u8>) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.mode(), metadata.ino(), metadata.modified().unwrap(), fs::read(path).unwrap())
}

fn age(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(9999)).unwrap();
}

#[tokio::test]
async fn a_cached_file_is_not_downloaded() {
    let (place, hub) = (tempfile::tempdir().unwrap(), Hub::start(model(), Listing::Full).await);
    let donor = cache(place.path(), &model()).join("blobs").join(digest_of(&weights()).hex());
    age(&donor);
    for (mode, names) in [(0o400, 2), (0o664, 1)] {
        fs::set_permissions(&donor, fs::Permissions::from_mode(mode)).unwrap();
        let before = looks(&donor);
        let world = with_cache(&hub.endpoint, &place);
        let told = world.pull("o/r").await;
        assert_eq!(world.read(told.model(), WEIGHTS), weights());
        assert_eq!(looks(&donor), before);
        let links = fs::metadata(&donor).unwrap().nlink();
        // A reflink is better than both, but not every file system has it.
        assert!(links == names || links == 1, "{links} names of a file with mode {mode:o}");
        assert_eq!(world.entries("staging").len(), 0);
        let line = told.lines.iter().find(|line| line.digest == Some(digest_of(&weights())));
        assert_eq!(line.unwrap().completed, Some(weights().len() as u64));
    }
    assert_eq!(hub.seen(WEIGHTS).len(), 0);
}

#[tokio::test]
async fn wrong_bytes_and_links_are_no_donors() {
    let digest = digest_of(&weights());
    let bend = |donor: &Path, how: usize| match how {
        0 => fs::write(donor, vec![0; weights().len()]).unwrap(),
        1 => {
            fs::rename(donor, donor.with_extension("x")).unwrap();
            symlink(donor.with_extension("x"), donor).unwrap();
        }
        _ => {
            fs::remove_file(donor).unwrap();
            fs::create_dir(donor).unwrap();
        }
    };
    for how in 0..3 {
        let (place, hub) = (tempfile::tempdir().unwrap(), Hub::start(model(), Listing::Full).await);
        let donor = cache(place.path(), &model()).join("blobs").join(digest.hex());
        bend(&donor, how);
        let world = with_cache(&hub.endpoint, &place);
        let told = world.pull("o/r").await;
        assert_eq!(world.read(told.model(), WEIGHTS), weights());
        assert!(!hub.seen(WEIGHTS).is_empty(), "{how}");
        assert_eq!(world.entries("staging").len(), 0);
    }
}

#[tokio::test]
async fn another_store_lends_a_file() {
    let (place, hub) = (tempfile::tempdir().unwrap(), Hub::start(model(), Listing::Full).await);
    let other = Store::open(place.path()).unwrap();
    other.put_bytes(&weights()).unwrap();
    let stores = vec![place.path().join("nowhere"), place.path().to_owned()];
    let world = World::new(Settings { stores, ..settings(&hub.endpoint) });
    let told = world.pull("o/r").await;
    world.store.verify(&digest_of(&weights())).unwrap();
    assert_eq!(
        (told.model().name.to_string().as_str(), hub.seen(WEIGHTS).len()),
        ("o/r:latest", 0)
    );
    world.store.remove(&name("o/r")).unwrap();
    other.verify(&digest_of(&weights())).unwrap();
}

#[tokio::test]
async fn the_cache_serves_without_a_hub() {
    let place = tempfile::tempdir().unwrap();
    cache(place.path(), &model());
    let silent = Hub::start(model(), Listing::Silent).await;
    let offline = Settings { offline: true, ..settings(&silent.endpoint) };
    for settings in [offline, settings(NOWHERE), settings(&silent.endpoint)] {
        let world = World::new(Settings { hub_cache: Some(place.path().to_owned()), ..settings });
        let told = world.pull("o/r").await;
        assert_eq!(world.read(told.model(), WEIGHTS), weights());
        let files: Vec<String> = world.store.files(told.model()).unwrap().into_keys().collect();
        assert_eq!(files.len(), 6, "{files:?}");
        let is_told = |status: &&str| status.ends_with("using Hugging Face's cache");
        assert!(told.statuses().iter().any(is_told), "{told:?}");
    }
    let world = World::new(Settings {
        hub_cache: Some(place.path().to_owned()),
        offline: true,
        ..settings(NOWHERE)
    });
    let at = |revision: &str| {
        vec![Origin::Hub { repo: "o/r".to_owned(), revision: revision.to_owned() }]
    };
    world.pull_from("pinned", at(COMMIT)).await.model();
    let error = world.pull_from("other", at("v2")).await.outcome.unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
}

#[tokio::test]
async fn the_hub_comes_before_the_cache() {
    let place = tempfile::tempdir().unwrap();
    let old = model().with("config.json", "old");
    cache(place.path(), &old);
    let hub = Hub::start(model(), Listing::Full).await;
    let told = with_cache(&hub.endpoint, &place).pull("o/r").await;
    assert!(told.statuses().contains(&"pulling from hub o/r"), "{told:?}");
    assert!(!hub.seen("config.json").is_empty());
    let gone = Hub::start(model(), Listing::Error(404, "RepoNotFound")).await;
    let error = with_cache(&gone.endpoint, &place).pull("o/r").await.outcome.unwrap_err();
    assert!(error.to_string().contains("the hub has no 'o/r'"), "{error}");
}

#[tokio::test]
async fn a_model_that_is_here_is_not_replaced_by_an_older_one() {
    let place = tempfile::tempdir().unwrap();
    let root = cache(place.path(), &model());
    let hub = Hub::start(model(), Listing::Full).await;
    let world = with_cache(&hub.endpoint, &place);
    world.pull("o/r").await.model();
    let offline =
        Settings { hub_cache: Some(place.path().to_owned()), offline: true, ..settings(NOWHERE) };
    let describe = |_: &registry::Files| Ok(serde_json::json!({}));
    let puller = registry::Puller::new(world.store.clone(), offline, std::sync::Arc::new(describe));
    let error = crate::world::told(puller.pull(&name("o/r"))).await.outcome.unwrap_err();
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    fs::rename(root.join("snapshots").join(COMMIT), root.join("snapshots").join(&hub.commit))
        .unwrap();
    fs::write(root.join("refs/main"), &hub.commit).unwrap();
    crate::world::told(puller.pull(&name("o/r"))).await.model();
}

#[tokio::test]
async fn one_gguf_file_of_the_cache_is_a_whole_model() {
    let place = tempfile::tempdir().unwrap();
    let files = Files::default().with("x-Q8_0.gguf", "GGUF8").with("x-Q4_K_M.gguf", "GGUF4");
    cache(place.path(), &files);
    let told = with_cache(NOWHERE, &place).pull("hf.co/o/r:q4_k_m").await;
    let layers = &told.model().manifest.layers;
    assert_eq!(layers.iter().map(|layer| layer.digest).collect::<Vec<_>>(), [digest_of(b"GGUF4")]);
    let error = with_cache(NOWHERE, &place).refused("o/r").await;
    assert!(error.starts_with("the hub cannot be reached: "), "{error}");
}

#[tokio::test]
async fn a_cache_that_cannot_be_trusted_serves_nothing() {
    let bend = |root: &Path, how: usize| {
        let snapshot = root.join("snapshots").join(COMMIT);
        match how {
            // Some program fetched what it needed, and nobody knows whether that is all.
            0 => ["modules.json", "README.md", "1_Pooling/config.json"]
                .iter()
                .for_each(|path| fs::remove_file(snapshot.join(path)).unwrap()),
            1 => fs::write(root.join("refs/main"), "../../../elsewhere").unwrap(),
            2 => {
                fs::write(root.join("secret"), "secret").unwrap();
                fs::remove_file(snapshot.join(WEIGHTS)).unwrap();
                symlink("../../secret", snapshot.join(WEIGHTS)).unwrap();
                fs::remove_file(snapshot.join("pytorch_model.bin")).unwrap();
            }
            _ => fs::write(snapshot.join("modules.json"), "[").unwrap(),
        }
    };
    for how in 0..4 {
        let place = tempfile::tempdir().unwrap();
        bend(&cache(place.path(), &model()), how);
        let error = with_cache(NOWHERE, &place).refused("o/r").await;
        assert!(error.starts_with("the hub cannot be reached: "), "{how}: {error}");
    }
    let place = tempfile::tempdir().unwrap();
    let root = cache(place.path(), &model());
    bend(&root, 0);
    let absent = root.join(".no_exist").join(COMMIT);
    fs::create_dir_all(&absent).unwrap();
    fs::write(absent.join("modules.json"), "").unwrap();
    with_cache(NOWHERE, &place).pull("o/r").await.model();
}

#[tokio::test]
async fn a_model_of_another_store_keeps_its_manifest() {
    let place = tempfile::tempdir().unwrap();
    let other = Store::open(place.path()).unwrap();
    let gguf = Layer::new(media::GGUF, other.put_bytes(b"GGUF").unwrap());
    let config = Layer::new(media::CONFIG, other.put_bytes(b"{}").unwrap());
    let theirs = other.commit(&name("x"), &Manifest::new(config, vec![gguf])).unwrap();
    // Nothing listens there.
    other.copy(&name("x"), &name("127.0.0.1:9/library/x")).unwrap();
    let origin = |host: &str| Origin::Registry {
        host: host.to_owned(),
        repo: "library/x".to_owned(),
        tag: "latest".to_owned(),
    };
    let stores = vec![place.path().to_owned()];
    for (host, offline) in [("registry.ollama.ai", true), ("127.0.0.1:9", false)] {
        let stores = stores.clone();
        let world = World::new(Settings { stores, offline, ..settings(NOWHERE) });
        let told = world.pull_from("x", vec![origin(host)]).await;
        assert_eq!(told.model().digest, theirs.digest);
        world.store.verify(&digest_of(b"GGUF")).unwrap();
        let is_told = |status: &&str| status.ends_with("using another store of this machine");
        assert!(told.statuses().iter().any(is_told), "{told:?}");
        world.store.remove(&name("x")).unwrap();
        other.verify(&digest_of(b"GGUF")).unwrap();
    }
    fs::remove_file(other.blob_path(&digest_of(b"GGUF"))).unwrap();
    let world = World::new(Settings { stores, offline: true, ..settings(NOWHERE) });
    world.pull_from("x", vec![origin("registry.ollama.ai")]).await.outcome.unwrap_err();
    assert_eq!(world.entries("blobs").len(), 0);
}
