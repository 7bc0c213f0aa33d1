//! How fast does the engine embed, and how much of what this machine can do at most is that?
//!
//! `cargo bench -p engine --bench engine -- FOLDER/ [WORD…]`, where FOLDER (with a slash) holds all-MiniLM-L6-v2 in
//! Hugging Face layout. Words choose: `f32`, `bf16`, `int8` (default all), `short`, `mixed`, `long` (default all),
//! `shapes` adds bge-base, bge-m3 and Qwen3-0.6B with random weights, `stock` adds plain candle, `quality` compares
//! precisions with f32, `deep` adds a text of 8,192 tokens, `budget` tries sizes of batches, `rows` measures a static
//! model and nothing else; `isa=avx512bf16` and the like choose another instruction set than the best.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "corpora.rs"]
mod corpora;
#[path = "peaks.rs"]
mod peaks;
#[path = "rows.rs"]
mod rows;
#[path = "shapes.rs"]
mod shapes;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use engine::{
    Arithmetic, Embedder, Files, Isa, Output, Overflow, Plan, Processor, Prompt, Threads, Tokens,
};
use modelfiles::{Recipe, recipe::Precision};
use peaks::Peaks;

/// Repetitions of each measurement; the median counts.
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(folder) = words.iter().find(|word| word.contains('/')) else {
        println!("name a folder that holds all-MiniLM-L6-v2");
        return Ok(());
    };
    let asked = |word: &str| words.iter().any(|other| other == word);
    if asked("rows") {
        println!("{}", rows::measure(Path::new(folder), &processor(1))?);
        return Ok(());
    }
    let chosen = |all: &[&'static str]| {
        let some: Vec<_> = all.iter().copied().filter(|word| asked(word)).collect();
        if some.is_empty() { all.to_vec() } else { some }
    };
    let cores = std::thread::available_parallelism()?.get();
    let mut counts = vec![1, cores];
    counts.dedup();
    let machine: Vec<(usize, Peaks)> = counts.iter().map(|n| (*n, peaks::measure(*n))).collect();
    println!("{}", heading(&machine));
    let mut bench = Bench {
        machine,
        precisions: chosen(&["f32", "bf16", "int8"]),
        corpora: chosen(&["query", "short", "mixed", "long"]),
    };
    let files = files(Path::new(folder))?;
    bench.model("all-MiniLM-L6-v2", &files, usize::MAX)?;
    if asked("stock") {
        bench.stock(&files)?;
    }
    if asked("quality") {
        quality(&files)?;
    }
    if asked("budget") {
        budget(&files)?;
    }
    if asked("shapes") {
        for shape in &shapes::SHAPES {
            bench.shape(shape, Path::new(folder))?;
        }
    }
    if asked("deep") {
        bench.machine.retain(|(threads, _)| *threads == cores);
        bench.corpora = vec!["deep"];
        bench.shape(&shapes::DEEP, Path::new(folder))?;
    }
    Ok(())
}

/// Returns the instruction set that is measured.
fn isa() -> Isa {
    let named = std::env::args().find_map(|word| Isa::named(word.strip_prefix("isa=")?));
    named.unwrap_or_else(Isa::best)
}

/// Returns that instruction set on so many threads.
fn processor(threads: usize) -> Processor {
    Processor { arithmetic: Arithmetic::Kernels(isa()), threads: Arc::new(Threads::new(threads)) }
}

/// Returns that instruction set on all cores.
fn whole_processor() -> Processor {
    Processor { arithmetic: Arithmetic::Kernels(isa()), ..Processor::default() }
}

fn heading(machine: &[(usize, Peaks)]) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let model = model.unwrap_or("unknown processor");
    let mut text = format!("{model}, {}\n", isa().name());
    let giga = |rate: f64| format!("{:.0}", rate / 1e9);
    let some = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), giga);
    for (threads, peaks) in machine {
        text = format!(
            "{text}peak on {threads} threads: f32 {} GFLOP/s, bf16 {} GFLOP/s, int8 {} GOP/s, memory {} GB/s\n",
            giga(peaks.f32),
            some(peaks.bf16),
            some(peaks.int8),
            giga(peaks::memory(*threads)),
        );
    }
    text
}

struct Bench {
    machine: Vec<(usize, Peaks)>,
    precisions: Vec<&'static str>,
    corpora: Vec<&'static str>,
}

impl Bench {
    /// Measures a model at every precision, on at most so many tokens of each corpus.
    fn model(&mut self, name: &str, files: &Files, most: usize) -> Result<(), Box<dyn Error>> {
        println!(
            "| {name} | threads | texts | tokens | ms | tokens/s | GFLOP/s | of peak | page faults |\n{}",
            "|---".repeat(9) + "|"
        );
        for precision in &self.precisions {
            for (threads, peaks) in &self.machine {
                let processor = processor(*threads);
                let recipe = Recipe { precision: Precision::parse(precision), ..Recipe::default() };
                // Without effect where the system does not know it: then the figure is that of the whole run.
                let _forgotten = fs::write("/proc/self/clear_refs", "5");
                let before = resident("VmRSS");
                let started = Instant::now();
                let embedder = Embedder::load(files, &recipe, &processor)?;
                run(&embedder, &corpus(&embedder, "query", most)?)?;
                let cold = started.elapsed().as_secs_f64();
                let label = format!("{precision} | {threads}");
                let peak = match *precision {
                    "bf16" => peaks.bf16.unwrap_or(peaks.f32),
                    "int8" => peaks.int8.unwrap_or(peaks.f32),
                    _ => peaks.f32,
                };
                for corpus in &self.corpora {
                    measure(&embedder, corpus, &label, (peak, most))?;
                }
                println!(
                    "| {label} | first vector after {:.0} ms; {} MB more, {} MB at most | | | | | | |",
                    1e3 * cold,
                    resident("VmRSS").saturating_sub(before),
                    resident("VmHWM"),
                );
            }
        }
        println!();
        Ok(())
    }

    fn shape(&mut self, shape: &shapes::Shape, tokenizer: &Path) -> Result<(), Box<dyn Error>> {
        let made = tempfile::tempdir()?;
        shape.write(made.path(), tokenizer)?;
        self.model(shape.name, &files(made.path())?, shape.tokens)
    }

    fn stock(&self, files: &Files) -> Result<(), Box<dyn Error>> {
        let processor = Processor { arithmetic: Arithmetic::Stock, ..Processor::default() };
        let embedder = Embedder::load(files, &Recipe::default(), &processor)?;
        let threads = processor.threads.count();
        let peak = self.machine.last().map_or(f64::NAN, |(_, peaks)| peaks.f32);
        for corpus in &self.corpora {
            measure(&embedder, corpus, &format!("stock candle | {threads}"), (peak, usize::MAX))?;
        }
        Ok(())
    }
}

fn measure(
    embedder: &Embedder,
    corpus: &str,
    label: &str,
    (peak, most): (f64, usize),
) -> Result<(), Box<dyn Error>> {
    let tokens = self::corpus(embedder, corpus, most)?;
    let (mut runs, mut faults) = (0, 0);
    let seconds = median(|| {
        // The first run makes the buffers.
        if runs == 1 {
            faults = page_faults();
        }
        runs += 1;
        run(embedder, &tokens).map(drop)
    })?;
    let faults = page_faults().saturating_sub(faults) / (runs - 1);
    let sum: usize = tokens.iter().map(|tokens| tokens.ids.len()).sum();
    let rate = tokens.iter().map(|t| flops(&embedder.description().plan, t.ids.len())).sum::<f64>()
        / seconds;
    println!(
        "| {label} | {corpus} | {sum} | {:.2} | {:.0} | {:.0} | {:.0}% | {faults} |",
        1e3 * seconds,
        sum as f64 / seconds,
        rate / 1e9,
        100.0 * rate / peak
    );
    Ok(())
}

/// Returns the floating-point operations of a text: linear layers and attention, no padding.
fn flops(plan: &Plan, tokens: usize) -> f64 {
    let linear = 2 * plan.hidden * (plan.query_width() + plan.key_width())
        + (2 + usize::from(plan.gated)) * plan.hidden * plan.inner;
    let seen = if plan.causal { tokens.div_ceil(2) } else { tokens };
    2.0 * (plan.layers * tokens) as f64 * (linear + 2 * plan.query_width() * seen) as f64
}

fn run(embedder: &Embedder, tokens: &[Tokens]) -> Result<Vec<Vec<f32>>, engine::Error> {
    let texts: Vec<_> = tokens.iter().map(|tokens| (tokens, Output::default())).collect();
    Ok(embedder.embed(&texts)?.into_iter().map(Option::unwrap_or_default).collect())
}

/// Returns the median of a few runs, after one that warms up; short ones are repeated.
fn median(mut run: impl FnMut() -> Result<(), engine::Error>) -> Result<f64, engine::Error> {
    let started = Instant::now();
    run()?;
    let repeat = (0.2 / started.elapsed().as_secs_f64()).clamp(1.0, 500.0) as usize;
    let mut times = Vec::new();
    for _ in 0..RUNS * repeat {
        let started = Instant::now();
        run()?;
        times.push(started.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Tokenises the texts of a corpus, or those that have no more than so many tokens together; `query` is a single
/// text of 8 tokens.
fn corpus(embedder: &Embedder, name: &str, most: usize) -> Result<Vec<Tokens>, engine::Error> {
    let texts = match name {
        "query" => vec!["why is the sky blue?".to_owned()],
        "deep" => vec![corpora::words().join(" ").repeat(4)],
        name => corpora::corpus(name),
    };
    let limit = embedder.limit(None).min(most);
    let mut sum = 0;
    let tokens = texts
        .iter()
        .map(|text| embedder.tokenize(text, Prompt::Default, limit, Overflow::Truncate));
    let fits = |tokens: &Result<Tokens, engine::Error>| {
        sum += tokens.as_ref().map_or(0, |tokens| tokens.ids.len());
        sum <= most
    };
    let all: Vec<_> = tokens.take_while(fits).collect::<Result<_, _>>()?;
    Ok(all)
}

/// Compares every precision with f32: cosines, and the nearest ten neighbours among 200 texts.
fn quality(files: &Files) -> Result<(), Box<dyn Error>> {
    let embed = |precision| -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
        let recipe = Recipe { precision: Some(precision), ..Recipe::default() };
        let embedder = Embedder::load(files, &recipe, &whole_processor())?;
        let mut tokens = corpus(&embedder, "mixed", usize::MAX)?;
        tokens.extend(corpus(&embedder, "short", usize::MAX)?);
        Ok(run(&embedder, &tokens)?)
    };
    let reference = embed(Precision::F32)?;
    for precision in [Precision::Bf16, Precision::Int8] {
        let vectors = embed(precision)?;
        let cosines: Vec<f32> = reference.iter().zip(&vectors).map(|(a, b)| dot(a, b)).collect();
        let least = cosines.iter().copied().fold(f32::INFINITY, f32::min);
        let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
        let kept: usize = (0..200)
            .map(|i| {
                let (a, b) = (nearest(&reference[..200], i), nearest(&vectors[..200], i));
                a.iter().filter(|i| b.contains(i)).count()
            })
            .sum();
        println!(
            "{precision} against f32 on {} texts: cosine at least {least:.5}, mean {mean:.5}; nearest 10 of 200 kept {:.3}",
            vectors.len(),
            kept as f32 / 2000.0
        );
    }
    Ok(())
}

/// Measures what is lost when texts come in batches of so many tokens for each core: whoever waits, waits for a
/// batch.
fn budget(files: &Files) -> Result<(), Box<dyn Error>> {
    let processor = whole_processor();
    let embedder = Embedder::load(files, &Recipe::default(), &processor)?;
    let tokens = corpus(&embedder, "mixed", usize::MAX)?;
    let sum: usize = tokens.iter().map(|tokens| tokens.ids.len()).sum();
    for budget in [128, 256, 512, 1024, 2048, 4096] {
        let most = budget * processor.threads.count();
        let mut batches: Vec<&[Tokens]> = Vec::new();
        let (mut start, mut size) = (0, 0);
        for (i, text) in tokens.iter().enumerate() {
            if i > start && size + text.ids.len() > most {
                batches.push(&tokens[start..i]);
                (start, size) = (i, 0);
            }
            size += text.ids.len();
        }
        batches.push(&tokens[start..]);
        let all = || batches.iter().try_for_each(|batch| run(&embedder, batch).map(drop));
        let seconds = median(all)?;
        println!(
            "batches of {budget} tokens for each core: {:.0} tokens/s, {:.0} ms a batch",
            sum as f64 / seconds,
            1e3 * seconds / batches.len() as f64
        );
    }
    Ok(())
}

fn nearest(vectors: &[Vec<f32>], to: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..vectors.len()).filter(|i| *i != to).collect();
    order.sort_by(|a, b| {
        dot(&vectors[*b], &vectors[to]).total_cmp(&dot(&vectors[*a], &vectors[to]))
    });
    order.truncate(10);
    order
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Returns a figure of this process in MB, as Linux tells it.
fn resident(figure: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Returns how often this process touched a page that it did not have yet, as Linux counts.
fn page_faults() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(7).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Returns every file of a folder by its path in there.
fn files(folder: &Path) -> Result<Files, std::io::Error> {
    fn walk(
        folder: &Path,
        prefix: &str,
        files: &mut BTreeMap<String, PathBuf>,
    ) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name =
                format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
            if path.is_dir() {
                walk(&path, &format!("{name}/"), files)?;
            } else {
                files.insert(name, path);
            }
        }
        Ok(())
    }
    let mut files = BTreeMap::new();
    walk(folder, "", &mut files)?;
    Ok(files)
}
