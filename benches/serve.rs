//! What does HTTP cost? The service beside the engine alone, on the same texts in one run; ratios first.
//!
//! `cargo bench -p cli --bench serve -- FOLDER/ [corpus …] [soak=100000]`, where FOLDER (with a slash) holds a
//! model in Hugging Face layout and a corpus is `short`, `mixed` or `long` (the first two unless named). `soak`
//! then sends so many requests of mixed lengths, and tells the resident memory before and after.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "serve/client.rs"]
mod client;
mod corpora;
#[path = "serve/service.rs"]
mod service;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use client::{Client, request};
use engine::{Embedder, Output, Overflow, Processor, Prompt, Tokens};
use modelfiles::Recipe;
use service::Service;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Texts of a batch, as most applications send them.
const BATCH_TEXTS: usize = 64;
/// Clients that send one text each.
const CLIENTS: usize = 16;
/// Rounds of each measurement, of which the median counts; engine and service take turns.
const ROUNDS: usize = 5;
/// Short queries of a measurement.
const QUERIES: usize = 400;
/// Eight tokens for most vocabularies.
const QUERY: &str = "why is the sky blue?";
/// Pause between the queries beside a bulk load.
const PAUSE: Duration = Duration::from_millis(20);

/// Both sides of the comparison.
struct Bench {
    embedder: Embedder,
    service: Service,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.iter().find(|argument| argument.contains('/')) else {
        println!("name a folder that holds a model");
        return Ok(());
    };
    let mut files = BTreeMap::new();
    walk(Path::new(folder), "", &mut files)?;
    let embedder = Embedder::load(&files, &Recipe::default(), &Processor::default())?;
    let bench = Bench { embedder, service: Service::start(folder)? };
    bench.idle_query()?;
    let named = ["short", "mixed", "long"].into_iter().filter(|n| arguments.iter().any(|a| a == n));
    let mut names: Vec<&str> = named.collect();
    if names.is_empty() {
        names = vec!["short", "mixed"];
    }
    for name in names {
        bench.throughput(name)?;
        bench.query_beside_bulk(name)?;
    }
    let soak = arguments.iter().find_map(|argument| argument.strip_prefix("soak="));
    if let Some(requests) = soak {
        bench.soak(requests.parse()?)?;
    }
    println!("resident memory of the service: {} MB", bench.resident_mb());
    Ok(())
}

impl Bench {
    /// Compares a short query to an idle service with the forward pass of its tokens.
    fn idle_query(&self) -> Result<()> {
        let tokens = self.tokens(&[QUERY.to_owned()])?;
        let request = request(&[QUERY.to_owned()]);
        let mut client = Client::connect(&self.service.address)?;
        let (mut bare, mut whole) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let mut forward = || self.embed(&tokens);
            let mut http = || client.ask(&request).map(drop).map_err(Into::into);
            let (more_bare, more_whole) =
                (times(QUERIES / ROUNDS, &mut forward)?, times(QUERIES / ROUNDS, &mut http)?);
            // The first round warms up.
            if round > 0 {
                bare.extend(more_bare);
                whole.extend(more_whole);
            }
        }
        let [bare, whole] = [bare, whole].map(Times::of);
        println!(
            "one query of {} tokens, idle: {:.2}x the forward pass (p50 {:.3} ms, p99 {:.3} ms; \
             forward p50 {:.3} ms, p99 {:.3} ms)",
            tokens[0].ids.len(),
            whole.p50 / bare.p50,
            1e3 * whole.p50,
            1e3 * whole.p99,
            1e3 * bare.p50,
            1e3 * bare.p99
        );
        Ok(())
    }

    /// Compares tokens per second: the engine alone, one client with batches, many clients with single texts.
    fn throughput(&self, name: &str) -> Result<()> {
        let texts = corpora::corpus(name);
        let tokens = self.tokens(&texts)?;
        let sum: usize = tokens.iter().map(|tokens| tokens.ids.len()).sum();
        let batches: Vec<Vec<u8>> = texts.chunks(BATCH_TEXTS).map(request).collect();
        let singles: Vec<Vec<u8>> = texts.chunks(1).map(request).collect();
        let mut client = Client::connect(&self.service.address)?;
        let mut seconds = [const { Vec::new() }; 4];
        for round in 0..=ROUNDS {
            let taken = [
                time(|| self.embed(&tokens))?,
                time(|| tokens.chunks(BATCH_TEXTS).try_for_each(|batch| self.embed(batch)))?,
                time(|| Ok(batches.iter().try_for_each(|r| client.ask(r).map(drop))?))?,
                time(|| self.clients(&singles))?,
            ];
            // The first round warms up.
            if round > 0 {
                seconds.iter_mut().zip(taken).for_each(|(seconds, taken)| seconds.push(taken));
            }
        }
        let [engine, engine_batches, batches, clients] =
            seconds.map(|seconds| sum as f64 / Times::of(seconds).p50);
        println!(
            "{name}, {sum} tokens: batches of {BATCH_TEXTS} {:.3} of the engine ({:.3} of its batches), \
             {CLIENTS} clients {:.3} (engine {engine:.0} tokens/s, in batches {engine_batches:.0}; \
             HTTP batches {batches:.0}, clients {clients:.0})",
            batches / engine,
            batches / engine_batches,
            clients / engine
        );
        Ok(())
    }

    /// Sends requests from many clients at once, each as soon as its last one is answered.
    fn clients(&self, requests: &[Vec<u8>]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let one = || -> io::Result<()> {
            let mut client = Client::connect(&self.service.address)?;
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                client.ask(request)?;
            }
            Ok(())
        };
        let done: Vec<_> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one)).collect();
            clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        done.into_iter().try_for_each(|done| Ok(done.map_err(|_panic| "a client panicked")??))
    }

    /// Measures single queries while another client sends the corpus ten times over in one request after another.
    fn query_beside_bulk(&self, name: &str) -> Result<()> {
        let texts = corpora::corpus(name);
        let tokens = self.tokens(&texts)?;
        let sum: usize = tokens.iter().map(|tokens| tokens.ids.len()).sum();
        let whole = Times::of(times(3, &mut || self.embed(&tokens))?).p50;
        let batch = whole * self.embedder.batch_tokens() as f64 / sum as f64;
        let bulk = request(&vec![texts; 10].concat());
        let stop = AtomicBool::new(false);
        let load = || -> io::Result<()> {
            let mut client = Client::connect(&self.service.address)?;
            while !stop.load(Ordering::Relaxed) {
                client.ask(&bulk)?;
            }
            Ok(())
        };
        let queries = std::thread::scope(|scope| {
            let loading = scope.spawn(load);
            let queries = self.queries_apart();
            stop.store(true, Ordering::Relaxed);
            loading.join().map_err(|_panic| "the bulk load panicked")??;
            queries
        });
        let queries = Times::of(queries?);
        println!(
            "one query beside a bulk load of {name} texts: p50 {:.2}, p99 {:.2} batch times \
             (p50 {:.1} ms, p99 {:.1} ms; a batch {:.1} ms)",
            queries.p50 / batch,
            queries.p99 / batch,
            1e3 * queries.p50,
            1e3 * queries.p99,
            1e3 * batch
        );
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a client that pauses; there is no runtime to block"
    )]
    fn queries_apart(&self) -> Result<Vec<f64>> {
        let request = request(&[QUERY.to_owned()]);
        let mut client = Client::connect(&self.service.address)?;
        let mut taken = Vec::new();
        for _ in 0..QUERIES / 4 {
            std::thread::sleep(PAUSE);
            taken.push(time(|| Ok(client.ask(&request).map(drop)?))?);
        }
        Ok(taken)
    }

    /// Sends many requests of mixed lengths, and tells what that does to the memory of the service.
    fn soak(&self, requests: usize) -> Result<()> {
        let texts = corpora::corpus("mixed");
        let sizes = [1, 1, 1, 1, 1, 1, 1, 2, 3, 8];
        let make = |i: usize| request(&texts[i % 280..][..sizes[i % sizes.len()]]);
        let bodies: Vec<Vec<u8>> = (0..texts.len()).map(make).collect();
        let cycled =
            |count: usize| -> Vec<Vec<u8>> { bodies.iter().cycle().take(count).cloned().collect() };
        // What the first ones allocate is kept for the others.
        let rest = requests - requests / 10;
        self.clients(&cycled(requests / 10))?;
        let before = self.service.resident_bytes();
        let mut left = rest;
        while left > 0 {
            let now = left.min(bodies.len());
            self.clients(&bodies[..now])?;
            left -= now;
        }
        let after = self.service.resident_bytes();
        if let (Some(before), Some(after)) = (before, after) {
            println!(
                "resident memory after {requests} requests: {:.3} of what it was after {} ({} MB, {} MB)",
                after as f64 / before as f64,
                requests / 10,
                after >> 20,
                before >> 20
            );
        }
        Ok(())
    }

    fn resident_mb(&self) -> u64 {
        self.service.resident_bytes().unwrap_or_default() / 1_000_000
    }

    fn tokens(&self, texts: &[String]) -> Result<Vec<Tokens>> {
        let limit = self.embedder.limit(None);
        let one = |text: &String| {
            self.embedder.tokenize(text, Prompt::Default, limit, Overflow::Truncate)
        };
        Ok(texts.iter().map(one).collect::<std::result::Result<_, _>>()?)
    }

    fn embed(&self, tokens: &[Tokens]) -> Result<()> {
        let output = Output { normalize: true, ..Output::default() };
        let texts: Vec<_> = tokens.iter().map(|tokens| (tokens, output)).collect();
        let vectors = self.embedder.embed(&texts)?;
        assert_eq!(vectors.len(), tokens.len());
        Ok(())
    }
}

/// The middle and the bad end of many times, in seconds.
struct Times {
    p50: f64,
    p99: f64,
}

impl Times {
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at =
            |hundredths: usize| seconds[(seconds.len() * hundredths / 100).min(seconds.len() - 1)];
        Self { p50: at(50), p99: at(99) }
    }
}

fn time(run: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    run()?;
    Ok(started.elapsed().as_secs_f64())
}

fn times(count: usize, run: &mut dyn FnMut() -> Result<()>) -> Result<Vec<f64>> {
    (0..count).map(|_| time(&mut *run)).collect()
}

fn walk(folder: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            walk(&path, &format!("{name}/"), files)?;
        } else {
            files.insert(name, path);
        }
    }
    Ok(())
}
