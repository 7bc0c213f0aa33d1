//! Does a pull give the right bytes or a clear error, whatever the hub does?

use std::fs;
use std::time::{Duration, SystemTime};

use registry::{Error, media};

use crate::hub::{Hub, Listing, Trick};
use crate::world::{World, model, name, settings, told, weights};

const WEIGHTS: &str = "model.safetensors";

/// Pulls from a hub that misbehaves at the weights, and expects the right bytes.
async fn survives(trick: Trick, requests: usize) {
    let hub = Hub::start(model().trick(WEIGHTS, trick), Listing::Full).await;
    let world = World::of(&hub);
    let told = world.pull("o/r").await;
    assert_eq!(world.read(told.model(), WEIGHTS), weights(), "{trick:?}");
    let seen = hub.seen(WEIGHTS);
    assert_eq!(seen.len(), requests, "{trick:?}: {seen:?}");
    assert_eq!(world.entries("staging").len(), 0);
    assert!(!world.partial(&weights()).exists());
}

/// Pulls from a hub that misbehaves at the weights, and expects this error.
async fn refuses(trick: Trick, want: &str, keeps_partial: bool) {
    let hub = Hub::start(model().trick(WEIGHTS, trick), Listing::Full).await;
    let world = World::of(&hub);
    let error = world.refused("o/r").await;
    assert!(error.contains(want), "{trick:?}: {error}");
    assert!(world.store.size_of(&registry::digest_of(&weights())).is_none());
    assert_eq!(world.partial(&weights()).exists(), keeps_partial, "{trick:?}");
}

#[tokio::test]
async fn plain() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    let told = world.pull("O/R").await;
    assert!(told.outcome.is_err(), "the mock knows one spelling only");
    let told = world.pull("o/r").await;
    let stored = told.model();
    let files: Vec<String> = world.store.files(stored).unwrap().into_keys().collect();
    let want = [
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        WEIGHTS,
        "modules.json",
        "tokenizer.json",
    ];
    assert_eq!(files, want);
    let config = world.store.read_blob(&stored.manifest.config.digest, 100).unwrap();
    assert_eq!(config, br#"{"files":6}"#);
    let license = stored.manifest.layers_of(media::LICENSE).next().unwrap();
    assert_eq!(world.store.read_blob(&license.digest, 100).unwrap(), b"mit");
    assert_eq!(hub.seen("config.json").len(), 2, "guides are fetched once");
    assert_eq!(hub.seen("modules.json").len(), 1);
}

#[tokio::test]
async fn progress_is_told_in_order() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Slow), Listing::Full).await;
    let world = World::of(&hub);
    let told = world.pull("o/r").await;
    told.model();
    let statuses = told.statuses();
    let digest = registry::digest_of(&weights());
    assert_eq!(statuses[..2], ["pulling manifest", "pulling from hub o/r"]);
    let last = &statuses[statuses.len() - 3..];
    assert_eq!(last, ["verifying sha256 digest", "writing manifest", "success"]);
    let lines: Vec<_> = told.lines.iter().filter(|line| line.digest == Some(digest)).collect();
    assert!(lines.len() > 4 && lines.len() < 25, "{}", lines.len());
    assert_eq!(lines[0].status, format!("pulling {}", digest.short()));
    assert!(lines.iter().all(|line| line.total == Some(weights().len() as u64)));
    assert!(lines.is_sorted_by_key(|line| line.completed));
    assert_eq!(lines[lines.len() - 1].completed, Some(weights().len() as u64));
}

#[tokio::test]
async fn second_pull_fetches_no_blob_and_keeps_the_model() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    let first = world.pull("o/r").await.model().digest;
    let told = world.pull("o/r").await;
    assert_eq!(told.model().digest, first);
    assert_eq!(hub.seen(WEIGHTS).len(), 1);
    let line = told
        .lines
        .iter()
        .find(|line| line.digest == Some(registry::digest_of(&weights())))
        .unwrap();
    assert_eq!(line.completed, line.total);
    assert!(!told.statuses().contains(&"removing unused layers"));
}

#[tokio::test]
async fn new_version_replaces_the_old_one() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    world.pull("o/r").await.model();
    let hub = Hub::start(model().with(WEIGHTS, vec![7; 5000]), Listing::Full).await;
    let puller = registry::Puller::new(
        world.store.clone(),
        settings(&hub.endpoint),
        std::sync::Arc::new(|_: &registry::Files| Ok(serde_json::json!({}))),
    );
    let told = told(puller.pull(&name("o/r"))).await;
    told.model();
    assert!(told.statuses().contains(&"removing unused layers"));
    assert!(world.store.size_of(&registry::digest_of(&weights())).is_none());
    assert_eq!(world.store.list().unwrap().len(), 1);
}

#[tokio::test]
async fn survives_what_lines_and_servers_do() {
    survives(Trick::Nothing, 1).await;
    survives(Trick::Cut, 2).await;
    survives(Trick::CutThenIgnoreRange, 2).await;
    survives(Trick::CutThenRefuseRange, 3).await;
    survives(Trick::Short, 2).await;
    survives(Trick::Stall, 2).await;
}

#[tokio::test]
async fn refuses_what_is_not_the_file() {
    refuses(Trick::Wrong, "digest mismatch, file must be downloaded again: want sha256:", false)
        .await;
    refuses(Trick::Page(403), "unauthorized: ", false).await;
    refuses(Trick::Page(404), "file does not exist", false).await;
    refuses(Trick::Page(500), "500 Internal Server Error", false).await;
    refuses(Trick::Long, "more bytes than it announced", true).await;
    refuses(Trick::Empty, "cannot be reached: ", false).await;
}

#[tokio::test]
async fn a_broken_line_is_resumed_by_range() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Cut), Listing::Full).await;
    let world = World::of(&hub);
    world.pull("o/r").await.model();
    let ranges: Vec<_> = hub.seen(WEIGHTS).into_iter().map(|seen| seen.range).collect();
    assert_eq!(ranges, [None, Some(format!("bytes={}-", weights().len() / 2))]);
}

#[tokio::test]
async fn a_killed_pull_is_resumed_from_its_partial() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    world.leave_partial(&weights(), &weights()[..1_000_000]);
    world.pull("o/r").await.model();
    let ranges: Vec<_> = hub.seen(WEIGHTS).into_iter().map(|seen| seen.range).collect();
    assert_eq!(ranges, [Some("bytes=1000000-".to_owned())]);
}

#[tokio::test]
async fn a_partial_that_is_complete_damaged_or_too_long() {
    for (partial, requests) in [
        (weights().to_vec(), 0),
        (vec![0; 1_000_000], 2),
        (vec![0; weights().len()], 1),
        (vec![0; weights().len() + 1], 1),
    ] {
        let hub = Hub::start(model(), Listing::Full).await;
        let world = World::of(&hub);
        world.leave_partial(&weights(), &partial);
        let told = world.pull("o/r").await;
        assert_eq!(world.read(told.model(), WEIGHTS), weights());
        assert_eq!(hub.seen(WEIGHTS).len(), requests, "{}", partial.len());
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_store_is_repaired() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    let told = world.pull("o/r").await;
    let path = world.store.blob_path(&registry::digest_of(&weights()));
    let mut bytes = weights().to_vec();
    bytes[77] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(world.store.verify(&registry::digest_of(&weights())).is_err());
    world.pull("o/r").await.model();
    assert_eq!(world.read(told.model(), WEIGHTS), weights());
}

#[tokio::test]
async fn two_pulls_of_one_name_are_one() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Slow), Listing::Full).await;
    let world = World::of(&hub);
    let (one, two) = tokio::join!(world.pull("o/r"), world.pull("o/r"));
    assert_eq!(one.model().digest, two.model().digest);
    assert_eq!(hub.seen(WEIGHTS).len(), 1);
    assert_eq!(two.statuses()[0], "pulling manifest");
}

#[tokio::test]
async fn two_stores_on_one_folder_share_a_download() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Slow), Listing::Full).await;
    let world = World::of(&hub);
    let store = registry::Store::open(world.store.root()).unwrap();
    let describe = std::sync::Arc::new(|_: &registry::Files| Ok(serde_json::json!({})));
    let puller = registry::Puller::new(store, settings(&hub.endpoint), describe);
    let second = told(puller.pull(&name("hf.co/o/r")));
    let (one, two) = tokio::join!(world.pull("o/r"), second);
    one.model();
    two.model();
    assert_eq!(hub.seen(WEIGHTS).len(), 1);
    assert_eq!(world.store.list().unwrap().len(), 2);
}

#[tokio::test]
async fn the_last_listener_cancels_and_the_next_resumes() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Slow), Listing::Full).await;
    let world = World::of(&hub);
    let mut one = world.puller.pull(&name("o/r"));
    let two = world.puller.pull(&name("o/r"));
    let digest = registry::digest_of(&weights());
    loop {
        let line = one.next().await.unwrap();
        if line.digest == Some(digest) && line.completed > Some(200_000) {
            break;
        }
    }
    drop(two);
    drop(one);
    assert_eq!(world.store.list().unwrap().len(), 0);
    let told = world.pull("o/r").await;
    assert_eq!(world.read(told.model(), WEIGHTS), weights());
    let seen = hub.seen(WEIGHTS);
    assert!(seen.len() == 2 && seen[1].range.is_some(), "{seen:?}");
}

#[tokio::test]
async fn the_token_stays_with_the_hub() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Redirect), Listing::Full).await;
    let token = Some("secret".to_owned());
    let world = World::new(registry::Settings { token, ..settings(&hub.endpoint) });
    world.pull("o/r").await.model();
    let seen = hub.seen(WEIGHTS);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].token.as_deref(), Some("Bearer secret"));
    assert!(seen[1].host.starts_with("localhost") && seen[1].token.is_none(), "{:?}", seen[1]);
    assert!(hub.seen(&hub.commit).iter().all(|seen| seen.token.is_some()));
}

#[tokio::test]
async fn without_a_token_none_is_sent() {
    let hub = Hub::start(model(), Listing::Full).await;
    World::of(&hub).pull("o/r").await.model();
    assert!(hub.seen("").iter().all(|seen| seen.token.is_none()));
}

#[tokio::test]
async fn digests_from_the_tree_and_no_digests_at_all() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Wrong), Listing::InTree).await;
    let error = World::of(&hub).refused("o/r").await;
    assert!(error.starts_with("digest mismatch"), "{error}");
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Cut), Listing::Bare).await;
    let world = World::of(&hub);
    let told = world.pull("o/r").await;
    assert_eq!(world.read(told.model(), WEIGHTS), weights());
}

#[tokio::test]
async fn errors_say_what_to_do() {
    for (status, code, token, want) in [
        (
            404,
            "RepoNotFound",
            None,
            "pull model manifest: file does not exist: the hub has no 'o/r'",
        ),
        (401, "GatedRepo", None, "'o/r' is gated: accept its conditions"),
        (403, "GatedRepo", Some("t"), "'o/r' is gated: accept its conditions"),
        (
            401,
            "RepoNotFound",
            None,
            "pull model manifest: file does not exist: the hub has no 'o/r'",
        ),
        (
            401,
            "x",
            None,
            "unauthorized: 'o/r' does not exist on the hub or is private; if it is private, set HF_TOKEN",
        ),
        (401, "x", Some("t"), "unauthorized: the hub refuses HF_TOKEN for 'o/r'"),
        (500, "x", None, "the hub cannot be reached: 500 Internal Server Error"),
        (429, "x", None, "the hub cannot be reached: too many requests, try again later"),
    ] {
        let hub = Hub::start(model(), Listing::Error(status, code)).await;
        let token = token.map(str::to_owned);
        let world = World::new(registry::Settings { token, ..settings(&hub.endpoint) });
        let error = world.refused("o/r").await;
        assert!(error.starts_with(want), "{status} {code}: {error}");
    }
}

#[tokio::test]
async fn a_model_that_nobody_knows() {
    let world = World::new(settings("http://127.0.0.1:9"));
    assert_eq!(
        world.refused("nothing-like-this").await,
        "pull model manifest: file does not exist"
    );
    let error = world.pull("o/r").await.outcome.unwrap_err();
    assert!(matches!(&*error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn what_a_killed_pull_left_goes_with_a_later_one() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    let [old, young] = ["blob-old", "blob-young"].map(|name| {
        let path = world.store.root().join("staging").join(name);
        fs::write(&path, "x").unwrap();
        path
    });
    let hours = Duration::from_secs(2 * 3600);
    fs::File::open(&old).unwrap().set_modified(SystemTime::now() - hours).unwrap();
    world.pull("o/r").await.model();
    assert!(!old.exists() && young.exists());
}

#[tokio::test]
async fn gated_files_say_what_to_do() {
    for path in ["modules.json", WEIGHTS] {
        let hub = Hub::start(model().trick(path, Trick::Gated), Listing::Full).await;
        let error = World::of(&hub).refused("o/r").await;
        assert!(error.starts_with("'o/r' is gated: accept its conditions"), "{path}: {error}");
    }
}

#[tokio::test]
async fn offline_asks_no_hub() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::new(registry::Settings { offline: true, ..settings(&hub.endpoint) });
    assert_eq!(world.refused("o/r").await, "the hub cannot be reached: HF_HUB_OFFLINE is set");
    assert!(hub.seen("").is_empty());
}

#[tokio::test]
async fn a_description_that_fails_leaves_no_model() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::of(&hub);
    let describe = |_: &registry::Files| Err("no such architecture".to_owned());
    let describe = std::sync::Arc::new(describe);
    let puller = registry::Puller::new(world.store.clone(), settings(&hub.endpoint), describe);
    let error = told(puller.pull(&name("o/r"))).await.outcome.unwrap_err();
    assert_eq!(error.to_string(), "no such architecture");
    assert_eq!(world.store.list().unwrap().len(), 0);
}

#[tokio::test]
async fn a_model_removed_during_its_pull_is_still_whole() {
    let hub = Hub::start(model().trick("tokenizer.json", Trick::Slow), Listing::Full).await;
    let world = World::of(&hub);
    let blob = world.store.put_bytes(&weights()).unwrap();
    let config = world.store.put_bytes(b"{}").unwrap();
    let layers = vec![registry::Layer::file(WEIGHTS, blob)];
    let manifest = registry::Manifest::new(registry::Layer::new(media::CONFIG, config), layers);
    world.store.commit(&name("other"), &manifest).unwrap();
    let remove = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        world.store.remove(&name("other")).unwrap();
    };
    let (told, ()) = tokio::join!(world.pull("o/r"), remove);
    assert_eq!(world.read(told.model(), WEIGHTS), weights());
}
