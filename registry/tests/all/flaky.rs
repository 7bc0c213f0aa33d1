//! Do a thousand bad lines and servers ever leave a wrong blob? Seeded, so that a failure can be run again.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use registry::{Settings, digest_of};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, settings};

/// Runs in all.
const RUNS: u64 = 1_000;
/// Runs at a time; they mostly wait.
const AT_ONCE: u64 = 8;
const WEIGHTS_BYTES: u32 = 200_000;
const CHUNK: u64 = 16 << 10;
const COMMIT: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Small numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A hub whose every answer about weights may go wrong in its own way.
struct Flaky {
    weights: Bytes,
    seed: u64,
    /// Only cuts lines, instead of everything a server can do wrong.
    only_cuts: bool,
    requests: AtomicU64,
}

impl Flaky {
    async fn start(seed: u64, only_cuts: bool) -> (String, Bytes) {
        let weights: Bytes = (0..WEIGHTS_BYTES / 4)
            .flat_map(|number| (number.wrapping_mul(2_654_435_761) ^ seed as u32).to_le_bytes())
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let flaky =
            Arc::new(Self { weights: weights.clone(), seed, only_cuts, requests: 0.into() });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let flaky = flaky.clone();
                tokio::spawn(async move { flaky.serve(stream).await.ok() });
            }
        });
        (endpoint, weights)
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream);
        loop {
            let (mut target, mut range) = (String::new(), None);
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if target.is_empty() {
                    target = line.split(' ').nth(1).unwrap_or_default().to_owned();
                }
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    range = parse_range(text.trim());
                }
                if line == "\r\n" {
                    break;
                }
            }
            let answer = self.answer(&target, range);
            lines.get_mut().write_all(&answer.bytes).await?;
            if answer.ends {
                // What was written must arrive before the line is cut.
                return lines.get_mut().shutdown().await;
            }
        }
    }

    fn answer(&self, target: &str, range: Option<(u64, Option<u64>)>) -> Answer {
        if target.contains("/api/models/") {
            let weights = json!({"rfilename": "model.safetensors", "size": self.weights.len(),
                "lfs": {"sha256": digest_of(&self.weights).hex(), "size": self.weights.len()}});
            let siblings = json!([{"rfilename": "config.json", "size": 2}, weights]);
            let info = json!({"id": "o/r", "sha": COMMIT, "siblings": siblings});
            return whole(info.to_string().as_bytes());
        }
        if !target.ends_with("/model.safetensors") {
            return whole(b"{}");
        }
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut dice = Dice(self.seed.wrapping_mul(1_000_003).wrapping_add(count));
        dice.roll(2);
        self.weights(range, &mut dice)
    }

    fn weights(&self, range: Option<(u64, Option<u64>)>, dice: &mut Dice) -> Answer {
        let size = self.weights.len() as u64;
        let range = range.map(|(start, end)| start..end.map_or(size, |end| (end + 1).min(size)));
        let kind = if self.only_cuts { dice.roll(4) } else { dice.roll(20) };
        let tag = if kind == 4 { "\"other\"" } else { "\"one\"" };
        let mut part = range.clone().unwrap_or(0..size);
        match kind {
            5 => return page("503 Service Unavailable", "retry-after: 0\r\n"),
            6 => return page("416 Range Not Satisfiable", ""),
            7 => return page("200 OK", ""),
            8 => return Answer { bytes: Vec::new(), ends: true },
            9 => return Answer { bytes: b"HTTP/1.1 206 P\r\ncontent-le".to_vec(), ends: true },
            10 => part = part.start..(part.start + 1 + dice.roll(5_000)).min(part.end),
            11 => part.start = (part.start + 1).min(part.end - 1),
            _ => {}
        }
        let mut body = self.weights[part.start as usize..part.end as usize].to_vec();
        if kind == 12 {
            let at = dice.roll(body.len() as u64) as usize;
            body[at] ^= 1 << dice.roll(8);
        }
        let range = range.filter(|_| kind != 13).map(|_| part);
        let mut bytes = head(range.as_ref(), size, body.len(), tag, kind);
        if kind == 14 {
            body.extend_from_slice(b"more than was announced");
        }
        bytes.extend_from_slice(&body);
        if kind < 2 {
            bytes.truncate(dice.roll(bytes.len() as u64) as usize);
        }
        Answer { bytes, ends: !(2..14).contains(&kind) }
    }
}

struct Answer {
    bytes: Vec<u8>,
    /// The line is cut behind it.
    ends: bool,
}

fn head(range: Option<&Range<u64>>, size: u64, length: usize, tag: &str, kind: u64) -> Vec<u8> {
    let status = match range {
        Some(Range { start, end }) => {
            let total = if kind == 15 { size + 1 } else { size };
            format!("206 Partial Content\r\ncontent-range: bytes {start}-{}/{total}", end - 1)
        }
        None => "200 OK".to_owned(),
    };
    let length = match kind {
        16 => "connection: close".to_owned(),
        17 => format!("content-length: {}", length + 7),
        _ => format!("content-length: {length}"),
    };
    format!("HTTP/1.1 {status}\r\netag: {tag}\r\n{length}\r\n\r\n").into_bytes()
}

fn whole(body: &[u8]) -> Answer {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Answer { bytes, ends: false }
}

fn page(status: &str, header: &str) -> Answer {
    let text = "<html>a page</html>";
    let length = text.len();
    let page = format!("HTTP/1.1 {status}\r\n{header}content-length: {length}\r\n\r\n{text}");
    Answer { bytes: page.into_bytes(), ends: false }
}

fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (start, end) = text.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()))
}

/// Pulls, again if it failed, and returns how many pulls it took; the blob is right or absent all the time.
async fn run(seed: u64, only_cuts: bool) -> Option<u32> {
    let (endpoint, weights) = Flaky::start(seed, only_cuts).await;
    let quick = Settings {
        chunk: CHUNK,
        stall: Duration::from_millis(400),
        pause: Duration::from_micros(200),
        ..settings(&endpoint)
    };
    let world = World::new(quick);
    let digest = digest_of(&weights);
    for pulls in 1..=3 {
        let told = world.pull("o/r").await;
        let blob = std::fs::read(world.store.blob_path(&digest)).ok();
        assert!(blob.as_ref().is_none_or(|blob| *blob == weights), "seed {seed}: a wrong blob");
        let has_gone_back = |digest| {
            let lines = told.lines.iter().filter(move |line| line.digest == Some(digest));
            !lines.is_sorted_by_key(|line| line.completed)
        };
        assert!(!has_gone_back(digest), "seed {seed}: progress went backwards");
        if told.outcome.is_ok() {
            assert_eq!(world.read(told.model(), "model.safetensors"), weights, "seed {seed}");
            assert_eq!(world.entries("staging"), [""; 0], "seed {seed}");
            return Some(pulls);
        }
        assert_eq!(world.store.list().unwrap().len(), 0, "seed {seed}");
    }
    None
}

/// Runs seeds, and returns how many ended with the model.
async fn runs(seeds: Range<u64>, only_cuts: bool) -> usize {
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|first| {
            let seeds = seeds.clone().skip(first as usize).step_by(AT_ONCE as usize);
            tokio::spawn(async move {
                let mut whole = 0;
                for seed in seeds {
                    whole += usize::from(run(seed, only_cuts).await.is_some());
                }
                whole
            })
        })
        .collect();
    let mut whole = 0;
    for task in tasks {
        whole += task.await.unwrap();
    }
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_are_cut_anywhere() {
    assert_eq!(runs(0..RUNS / 2, true).await as u64, RUNS / 2, "cuts alone stop no pull");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_do_everything_wrong() {
    let whole = runs(RUNS / 2..RUNS, false).await as u64;
    // Six failures in a row without a byte, or a false byte, end a pull: that is right, and rare.
    assert!(whole * 10 >= RUNS / 2 * 9, "{whole} of {} came through", RUNS / 2);
}
