//! Does the transfer of one file do what was promised: parts, pauses, limits, and saying so when it starts over?

use std::time::{Duration, Instant};

use registry::{Line, Settings};

use crate::hub::{Hub, Listing, Trick};
use crate::world::{World, model, settings, weights};

const WEIGHTS: &str = "model.safetensors";

#[tokio::test]
async fn a_large_file_comes_in_parts_that_meet() {
    let hub = Hub::start(model(), Listing::Full).await;
    let world = World::new(Settings { chunk: 8 << 10, ..settings(&hub.endpoint) });
    let told = world.pull("o/r").await;
    assert_eq!(world.read(told.model(), WEIGHTS), weights());
    let size = weights().len() as u64;
    let part = |range: Option<String>| {
        let range = range.unwrap();
        let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        (start.parse::<u64>().unwrap(), end.parse().map_or(size, |end: u64| end + 1))
    };
    let mut parts: Vec<_> = hub.seen(WEIGHTS).into_iter().map(|seen| part(seen.range)).collect();
    parts.sort_unstable();
    assert!(parts.len() > 2, "{parts:?}");
    assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0), "each byte once: {parts:?}");
    assert_eq!((parts[0].0, parts[parts.len() - 1].1), (0, size));
}

#[tokio::test]
async fn another_version_starts_over_and_says_so() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::CutThenRetag), Listing::Full).await;
    let world = World::of(&hub);
    let told = world.pull("o/r").await;
    assert_eq!(world.read(told.model(), WEIGHTS), weights());
    let says = |line: &&str| line.contains("it has changed on the server, starting over");
    assert_eq!(told.statuses().iter().filter(|line| says(line)).count(), 1, "{told:?}");
    assert_eq!(hub.seen(WEIGHTS).len(), 3);
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_when_it_said() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Later), Listing::Full).await;
    let world = World::of(&hub);
    let begin = Instant::now();
    world.pull("o/r").await.model();
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(hub.seen(WEIGHTS).len(), 2);
}

#[tokio::test]
async fn a_line_may_be_limited() {
    let hub = Hub::start(model(), Listing::Full).await;
    let line = Line::new(4, Some(1_000_000));
    let world = World::new(Settings { line, ..settings(&hub.endpoint) });
    let begin = Instant::now();
    world.pull("o/r").await.model();
    let elapsed = begin.elapsed();
    assert!(elapsed >= Duration::from_millis(1_100), "1.2 MB at 1 MB/s: {elapsed:?}");
}

#[tokio::test]
async fn a_server_that_crawls_is_given_up() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Crawl), Listing::Full).await;
    let quick = Settings { stall: Duration::from_millis(500), ..settings(&hub.endpoint) };
    let error = World::new(quick).refused("o/r").await;
    assert!(error.contains("crawls"), "{error}");
}

#[tokio::test]
async fn redirects_lead_nowhere_bad() {
    for (target, want) in [
        ("http://169.254.169.254/latest/meta-data", "a redirect leaves encryption"),
        ("https://169.254.169.254/latest/meta-data", "not the server's to name"),
        ("https://[fe80::1]/x", "not the server's to name"),
        ("file:///etc/passwd", "302 Found"),
        ("model.safetensors", "too many redirects"),
    ] {
        let hub =
            Hub::start(model().trick(WEIGHTS, Trick::RedirectTo(target)), Listing::Full).await;
        let error = World::of(&hub).refused("o/r").await;
        assert!(error.contains(want), "{target}: {error}");
    }
}

#[tokio::test]
async fn a_version_that_changes_between_parts_is_fetched_whole() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::Retag), Listing::Full).await;
    let world = World::new(Settings { chunk: 100 << 10, ..settings(&hub.endpoint) });
    let told = world.pull("o/r").await;
    assert_eq!(world.read(told.model(), WEIGHTS), weights());
    assert!(told.statuses().iter().any(|line| line.ends_with("starting over")), "{told:?}");
}

#[tokio::test]
async fn a_file_of_another_size_ends_every_pull_soon() {
    let hub = Hub::start(model().trick(WEIGHTS, Trick::OtherTotal), Listing::Full).await;
    let world = World::new(Settings { chunk: 100 << 10, ..settings(&hub.endpoint) });
    for _ in 0..2 {
        // What the first has left behind, a lock say, must not keep the second waiting.
        let refused = tokio::time::timeout(Duration::from_secs(10), world.refused("o/r")).await;
        let error = refused.expect("an end");
        assert!(error.contains("the file changes while it is fetched"), "{error}");
    }
}

#[test]
fn two_threads_for_the_disk_are_enough() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(2).enable_all().build().unwrap();
    let told = runtime.block_on(async {
        let hub = Hub::start(model(), Listing::Full).await;
        let world = World::new(Settings { chunk: 8 << 10, ..settings(&hub.endpoint) });
        tokio::time::timeout(Duration::from_secs(20), world.pull("o/r")).await
    });
    told.expect("an end").model();
}
