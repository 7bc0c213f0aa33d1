//! How much longer than its tokenizer does a static model take, one with the sizes of potion-base-8M?

use std::{error::Error, fs, path::Path, time::Instant};

use engine::{Embedder, Files, Output, Overflow, Processor, Prompt, Tokens};
use modelfiles::Recipe;

use crate::{RUNS, corpora};

/// Width of a row.
const WIDTH: usize = 256;

/// Measures tokenising alone and with the rows, on one thread, with the tokenizer of another model.
pub(crate) fn measure(folder: &Path, processor: &Processor) -> Result<String, Box<dyn Error>> {
    let tokenizer = fs::read(folder.join("tokenizer.json"))?;
    let vocabulary = vocabulary(&tokenizer).ok_or("no vocabulary")?;
    let made = tempfile::tempdir()?;
    let bytes = vocabulary * WIDTH * 4;
    let header = format!(
        r#"{{"embeddings":{{"dtype":"F32","shape":[{vocabulary},{WIDTH}],"data_offsets":[0,{bytes}]}}}}"#
    );
    let mut table = (header.len() as u64).to_le_bytes().to_vec();
    table.extend(header.bytes());
    let values = (0..vocabulary * WIDTH).map(|i| (i * 7919 % 1000) as f32 / 1000.0 - 0.5);
    table.extend(values.flat_map(f32::to_le_bytes));
    let mut files = Files::new();
    let config = br#"{"model_type":"model2vec","normalize":true}"#.to_vec();
    for (name, bytes) in
        [("config.json", config), ("tokenizer.json", tokenizer), ("model.safetensors", table)]
    {
        fs::write(made.path().join(name), bytes)?;
        files.insert(name.to_owned(), made.path().join(name));
    }
    let embedder = Embedder::load(&files, &Recipe::default(), processor)?;
    let texts: Vec<String> =
        ["short", "mixed", "long"].into_iter().flat_map(corpora::corpus).collect();
    let (mut alone, mut whole, mut count) = (f64::INFINITY, f64::INFINITY, 0);
    for _ in 0..RUNS {
        let started = Instant::now();
        count = tokenise(&embedder, &texts)?.iter().map(|tokens| tokens.ids.len()).sum();
        alone = alone.min(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let tokens = tokenise(&embedder, &texts)?;
        let batch: Vec<_> = tokens.iter().map(|tokens| (tokens, Output::default())).collect();
        drop(embedder.run(&batch)?);
        whole = whole.min(started.elapsed().as_secs_f64());
    }
    Ok(format!(
        "static rows of {WIDTH}, 1 thread: {:.0} tokens/s tokenised, {:.0} with vectors, {:.0}%",
        count as f64 / alone,
        count as f64 / whole,
        100.0 * alone / whole
    ))
}

fn vocabulary(tokenizer: &[u8]) -> Option<usize> {
    let tokenizer: serde_json::Value = serde_json::from_slice(tokenizer).ok()?;
    Some(tokenizer.get("model")?.get("vocab")?.as_object()?.len())
}

fn tokenise(embedder: &Embedder, texts: &[String]) -> Result<Vec<Tokens>, engine::Error> {
    let limit = embedder.limit(None);
    let tokens = texts
        .iter()
        .map(|text| embedder.tokenize(text, Prompt::Default, limit, Overflow::Truncate));
    tokens.collect()
}
