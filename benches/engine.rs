//! How fast does the engine embed? Tokens per second and GFLOP/s, per arithmetic and threads.
//!
//! `cargo bench -p engine --bench engine -- FOLDER [all]`, where FOLDER (with a slash) holds a model in Hugging Face
//! layout; `all` runs every arithmetic of the machine, not the fastest and stock candle alone.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use engine::{Arithmetic, Embedder, Output, Overflow, Prompt, Tokens};
use modelfiles::Recipe;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().skip(1).find(|argument| argument.contains('/'));
    let Some(folder) = folder else {
        println!("name a folder that holds a model");
        return Ok(());
    };
    let mut files = BTreeMap::new();
    walk(Path::new(&folder), "", &mut files)?;
    let all = std::env::args().any(|argument| argument == "all");
    let arithmetics =
        if all { Arithmetic::all() } else { vec![Arithmetic::default(), Arithmetic::Stock] };
    for arithmetic in arithmetics {
        let started = Instant::now();
        let embedder = Embedder::load_for(&files, &Recipe::default(), arithmetic)?;
        let load_ms = started.elapsed().as_millis();
        let plan = &embedder.description().plan;
        let flops = 2.0
            * (plan.layers * (4 * plan.hidden * plan.hidden + 2 * plan.hidden * plan.inner)) as f64;
        for (name, words, count) in
            [("8 tokens", 5, 1), ("short", 16, 64), ("mixed", 0, 128), ("long", 190, 32)]
        {
            let tokens = corpus(&embedder, words, count)?;
            let texts: Vec<_> = tokens.iter().map(|tokens| (tokens, Output::default())).collect();
            let sum: usize = tokens.iter().map(|tokens| tokens.ids.len()).sum();
            for threads in [1, 2] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                let seconds = pool.install(|| best(|| embedder.embed(&texts).map(drop)))?;
                let rate = sum as f64 / seconds;
                println!(
                    "{arithmetic:?} load {load_ms} ms, {name} ({sum} tokens), {threads} threads: {:.2} ms, {rate:.0} tokens/s, {:.0} GFLOP/s",
                    1e3 * seconds,
                    rate * flops / 1e9
                );
            }
        }
    }
    Ok(())
}

/// Returns the median of a few runs, after one that warms up.
fn best(mut run: impl FnMut() -> Result<(), engine::Error>) -> Result<f64, engine::Error> {
    run()?;
    let mut times = Vec::new();
    for _ in 0..7 {
        let started = Instant::now();
        run()?;
        times.push(started.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Makes texts of the licence that lies beside; `words` 0 mixes lengths.
fn corpus(embedder: &Embedder, words: usize, count: usize) -> Result<Vec<Tokens>, engine::Error> {
    let all: Vec<&str> = include_str!("../LICENSE").split_whitespace().collect();
    let lengths = [6, 12, 20, 40, 80, 150];
    (0..count)
        .map(|i| {
            let words = if words == 0 { lengths[i % lengths.len()] } else { words };
            let start = i * 37 % (all.len() - words);
            let text = all[start..start + words].join(" ");
            embedder.tokenize(&text, Prompt::Default, embedder.limit(None), Overflow::Truncate)
        })
        .collect()
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
