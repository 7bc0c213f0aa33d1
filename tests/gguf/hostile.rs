//! Does a damaged or hostile file give an error, and nothing worse?

use std::{collections::BTreeMap, fs};

use candle_core::quantized::GgmlDType;
use engine::{Description, Embedder, Error, Output, Overflow, Processor, Prompt};
use modelfiles::recipe::Recipe;

use super::{
    convert::{self, Source},
    files, golden,
};

/// Loads a file of these bytes and embeds a text, as far as that goes.
fn run(bytes: &[u8]) -> Result<Description, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, bytes).unwrap();
    let files = BTreeMap::from([("model.gguf".to_owned(), path)]);
    let (recipe, processor) = (Recipe::default(), Processor::default());
    let described = engine::describe(&files, &recipe, &processor)?;
    let embedder = Embedder::load(&files, &recipe, &processor)?;
    let text = "why is the Ａ sky? <mask> ☃ ";
    let tokens = embedder.tokenize(text, Prompt::Default, 40, Overflow::Truncate)?;
    embedder.embed(&[(&tokens, Output::default())])?;
    Ok(described)
}

fn refused(bytes: &[u8], words: &str) {
    let error = run(bytes).err().unwrap_or_else(|| panic!("not refused: {words}")).to_string();
    assert!(error.contains(words), "{error} is not about: {words}");
}

/// The beginning of a file that claims so many tensors and values.
fn header(tensors: u64, values: u64) -> Vec<u8> {
    [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &values.to_le_bytes()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A value of a type.
fn value(key: &str, kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), bytes].concat()
}

fn tensor(name: &str, shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let shape: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
    let [dimensions, kind] = [(shape.len() / 8) as u32, kind].map(u32::to_le_bytes);
    [&text(name)[..], &dimensions, &shape, &kind, &offset.to_le_bytes()].concat()
}

fn with(parts: &[Vec<u8>]) -> Vec<u8> {
    [&parts.concat()[..], &[0; 256]].concat()
}

#[test]
fn headers_that_lie() {
    let list = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let bert = value("general.architecture", 8, &text("bert"));
    refused(b"", "is empty");
    refused(b"GGML", "is not in GGUF format");
    refused(b"{\"not\": \"a model\"}", "is not in GGUF format");
    refused(b"GGUF\x03\0\0\0", "ends within its header");
    refused(
        b"GGUF\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        "GGUF files of version 50331648 cannot",
    );
    refused(&header(1 << 60, 0), "claims to hold");
    refused(&header(0, u64::MAX), "claims to hold");
    refused(&header(1000, 1000), "ends within its header");
    refused(&with(&[header(0, 1), (u64::MAX).to_le_bytes().to_vec()]), "ends within its header");
    refused(&with(&[header(0, 1), value("a", 77, b"")]), "unknown type 77");
    refused(&with(&[header(0, 1), value("a", 9, &list(8, 1 << 62))]), "claims to hold a list");
    refused(&with(&[header(0, 1), value("a", 9, &list(8, 1 << 20))]), "ends within its header");
    refused(&with(&[header(0, 1), value("a", 9, &list(12, 1 << 61))]), "ends within its header");
    refused(&with(&[header(0, 1), value("a", 9, &list(9, 1))]), "lists of lists cannot");
    refused(
        &with(&[header(0, 2), bert.clone(), bert.clone()]),
        "holds 'general.architecture' twice",
    );
    refused(&with(&[header(0, 1), value(&"k".repeat(2000), 7, b"\0")]), "a long one");
    for alignment in [0u32, 1, 48, 1 << 30] {
        let alignment = value("general.alignment", 4, &alignment.to_le_bytes());
        refused(&with(&[header(0, 1), alignment]), "aligns tensors at");
    }
    refused(&with(&[header(0, 1), value("general.alignment", 8, &text("x"))]), "aligns tensors at");
    refused(
        &with(&[header(0, 1), value("general.architecture", 8, &text("mamba"))]),
        "architecture 'mamba' cannot run",
    );
    refused(&with(&[header(0, 0)]), "architecture '' cannot run");
    refused(&with(&[header(0, 1), bert]), "is missing");
}

#[test]
fn tensors_that_lie() {
    let one = |tensor: Vec<u8>| with(&[header(1, 0), tensor]);
    for (shape, kind, offset) in [
        (&[4u64][..], 0, 1 << 40),
        (&[4], 0, u64::MAX - 31),
        (&[4], 0, 4),
        (&[1 << 20], 0, 0),
        (&[32, 1 << 40], 8, 0),
    ] {
        refused(&one(tensor("t", shape, kind, offset)), "'t' does not lie in the file");
    }
    refused(&one(tensor("t", &[1 << 32, 1 << 32], 0, 0)), "'t' has an odd shape");
    refused(&one(tensor("t", &[31, 2], 8, 0)), "'t' has an odd shape");
    refused(&one(tensor("t", &[1; 5], 0, 0)), "'t' has 5 dimensions");
    for (kind, name) in
        [(20, "IQ4_NL"), (34, "TQ1_0"), (39, "MXFP4"), (28, "F64"), (4, "4"), (999, "999")]
    {
        refused(
            &one(tensor("t", &[256], kind, 0)),
            &format!("tensors of type {name} ('t' is one) cannot run"),
        );
    }
    let twice = with(&[header(2, 0), tensor("t", &[1], 0, 0), tensor("t", &[1], 0, 0)]);
    refused(&twice, "holds tensor 't' twice");
}

/// A source of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

/// Returns files with every kind of tokenizer.
fn wholes() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let converted = [("bert-mean", "bert"), ("qwen3", "qwen3")].map(|(model, architecture)| {
        let target = convert::convert(&Source::read(&files(model)), architecture);
        let path = folder.path().join(model);
        target.write(&path, GgmlDType::Q8_0);
        fs::read(path).unwrap()
    });
    let written = ["xlm-roberta", "gemma"]
        .map(|name| fs::read(golden(&format!("tokenizers/{name}.gguf"))).unwrap());
    converted.into_iter().chain(written).collect()
}

/// Whatever bytes of the metadata say, nothing panics; and what was cut off is missed.
#[test]
fn every_kind_of_damage() {
    const ROUNDS: usize = 200;
    let mut numbers = Numbers(1);
    for whole in wholes() {
        assert!(run(&whole).is_ok());
        // The padding behind the last tensor is no loss.
        for length in (0..whole.len() - 32).step_by(whole.len() / 100) {
            assert!(run(&whole[..length]).is_err(), "{length}");
        }
        // Keys and numbers lie at the start, lists in the middle, tensors behind them.
        let end = whole.windows(10).rposition(|bytes| bytes == b"token_embd").unwrap();
        for round in 0..ROUNDS {
            let mut bytes = whole.clone();
            for _ in 0..=numbers.below(3) {
                let at = match round % 3 {
                    0 => numbers.below(600),
                    1 => numbers.below(end),
                    _ => end - 900 + numbers.below(2500),
                };
                bytes[at] = [0, 1, 255, b'a', numbers.below(256) as u8][numbers.below(5)];
            }
            drop(run(&bytes));
        }
    }
}
