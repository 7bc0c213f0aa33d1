//! Do models in GGUF files give the ids and vectors of the models that they were made from?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "gguf/convert.rs"]
mod convert;
#[path = "goldens/folder.rs"]
mod folder;
#[path = "gguf/hostile.rs"]
mod hostile;
#[path = "gguf/pieces.rs"]
mod pieces;
#[path = "gguf/vocabulary.rs"]
mod vocabulary;

use std::{collections::BTreeMap, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use candle_core::{
    Device,
    quantized::{GgmlDType, gguf_file::Value},
};
use convert::{Source, Target};
use engine::{Arithmetic, Embedder, Files, Output, Overflow, Processor, Prompt};
use folder::files;
use modelfiles::recipe::{Precision, Recipe};
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Case {
    text: String,
    #[serde(default)]
    repeat: Option<usize>,
    ids: Vec<u32>,
    embedding: String,
}

impl Case {
    fn vector(&self) -> Vec<f32> {
        let bytes = STANDARD.decode(&self.embedding).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// Returns a path in the folder of goldens.
fn golden(path: &str) -> String {
    format!("{}/../tests/goldens/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn cases(model: &str) -> Vec<Case> {
    let path = golden(&format!("models/{model}.json"));
    serde_json::from_slice::<Golden>(&fs::read(path).unwrap()).unwrap().cases
}

/// Returns what a file would hold if what a type loses were lost already.
fn rounded(target: &Target, dtype: GgmlDType) -> Target {
    let mut rounded = target.clone();
    for (name, tensor) in &mut rounded.tensors {
        *tensor = convert::stored(name, tensor, dtype).dequantize(&Device::Cpu).unwrap();
    }
    rounded
}

/// Writes a file and returns it as a repository.
fn written(target: &Target, dtype: GgmlDType) -> (Files, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    target.write(&path, dtype);
    (BTreeMap::from([("model.gguf".to_owned(), path)]), folder)
}

/// Returns the greatest difference of any value of two vectors of length 1, and the cosine.
fn distance(want: &[f32], got: &[f32]) -> (f32, f32) {
    assert_eq!(want.len(), got.len());
    let unit = |v: &[f32]| -> Vec<f32> { v.iter().map(|x| x / length(v)).collect() };
    let (want, got) = (unit(want), unit(got));
    let worst = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    (worst, want.iter().zip(&got).map(|(a, b)| a * b).sum())
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// Loads a file with every arithmetic of this processor, in f32.
fn embedders(files: &Files) -> Vec<Embedder> {
    let recipe = Recipe { precision: Some(Precision::F32), ..Recipe::default() };
    let load = |arithmetic| {
        let processor = Processor { arithmetic, ..Processor::default() };
        Embedder::load(files, &recipe, &processor).unwrap()
    };
    Arithmetic::all().into_iter().map(load).collect()
}

/// Embeds a case, whose ids must come out.
fn embed(embedder: &Embedder, case: &Case) -> Vec<f32> {
    let text = case.text.repeat(case.repeat.unwrap_or(1));
    let limit = case.ids.len().max(4);
    let tokens = embedder.tokenize(&text, Prompt::Default, limit, Overflow::Truncate).unwrap();
    assert_eq!(tokens.ids, case.ids, "ids of {:?}", case.text);
    embedder.embed(&[(&tokens, Output::default())]).unwrap().remove(0).unwrap()
}

/// Checks every case with every arithmetic; returns the worst distance and the least cosine.
fn check(files: &Files, cases: &[Case]) -> (f32, f32) {
    let (mut worst, mut least) = (0.0f32, 1.0f32);
    for embedder in embedders(files) {
        for case in cases {
            let (distance, cosine) = distance(&case.vector(), &embed(&embedder, case));
            (worst, least) = (worst.max(distance), least.min(cosine));
        }
    }
    (worst, least)
}

/// The same numbers, summed in another order: see goldens.rs.
const TOLERANCE: f32 = 1e-5;

/// Converts a golden and checks it.
fn check_model(model: &str, architecture: &str, change: impl Fn(&mut Target)) {
    check_cases(model, architecture, &cases(model), change);
}

/// Converts a golden and checks some of its cases: what each type of weights costs, and that blocks are read as what
/// they stand for.
fn check_cases(model: &str, architecture: &str, cases: &[Case], change: impl Fn(&mut Target)) {
    let mut target = convert::convert(&Source::read(&files(model)), architecture);
    change(&mut target);
    // Random weights are as hard for four bits as weights can be.
    for (dtype, least) in [
        (GgmlDType::F32, 0.999_999),
        (GgmlDType::F16, 0.9999),
        (GgmlDType::BF16, 0.999),
        (GgmlDType::Q8_0, 0.999),
        (GgmlDType::Q4_0, 0.8),
        (GgmlDType::Q4_1, 0.8),
        (GgmlDType::Q5_0, 0.95),
        (GgmlDType::Q5_1, 0.97),
    ] {
        let (files, _folder) = written(&target, dtype);
        let (worst, cosine) = check(&files, cases);
        assert!(cosine >= least, "{model} {dtype:?}: cosine {cosine}");
        assert!(dtype != GgmlDType::F32 || worst <= TOLERANCE, "{model}: {worst:e}");
        let (rounded, _folder) = written(&rounded(&target, dtype), GgmlDType::F32);
        for (as_blocks, plain) in embedders(&files).iter().zip(embedders(&rounded)) {
            for case in cases {
                let (distance, _) = distance(&embed(&plain, case), &embed(as_blocks, case));
                assert!(distance == 0.0, "{model} {dtype:?} {:?}: {distance:e}", case.text);
            }
        }
    }
}

/// Returns a change that names the pooling, and says whether vectors come out normalised.
fn pooled(architecture: &str, pooling: u32, normalizes: Option<bool>) -> impl Fn(&mut Target) {
    move |target: &mut Target| {
        target.set(&format!("{architecture}.pooling_type"), Value::U32(pooling));
        if let Some(normalizes) = normalizes {
            let key = format!("{architecture}.normalize_embeddings");
            target.set(&key, Value::Bool(normalizes));
        }
    }
}

#[test]
fn bert() {
    check_model("bert-mean", "bert", pooled("bert", 1, None));
}

#[test]
fn roberta() {
    check_model("roberta", "bert", |target| {
        pooled("bert", 1, None)(target);
        target.set("tokenizer.ggml.pre", Value::String("roberta-bpe".to_owned()));
    });
}

/// Without a table of characters the tokenizer knows no compositions, which the golden's does, nor blanks
/// at an end.
#[test]
fn xlm_roberta() {
    let plain = |case: &Case| {
        case.text.is_ascii() && case.text.trim() == case.text && !case.text.contains('<')
    };
    let cases: Vec<Case> = cases("xlm-roberta").into_iter().filter(plain).collect();
    check_cases("xlm-roberta", "bert", &cases, pooled("bert", 2, None));
}

/// A file with a tensor that has no place would be computed as something else than it is.
#[test]
fn what_has_no_place_is_refused() {
    let mut target = convert::convert(&Source::read(&files("jina2")), "jina-bert-v2");
    let norm = target.tensors["token_embd_norm.weight"].clone();
    target.tensors.insert("blk.1.attn_q_norm.weight".to_owned(), norm);
    let (files, _folder) = written(&target, GgmlDType::F32);
    let error = engine::describe(&files, &Recipe::default(), &Processor::default()).unwrap_err();
    let words = "with 'blk.1.attn_q_norm.weight' cannot run in this version";
    assert_eq!(error.to_string(), format!("a model of architecture 'jina-bert-v2' {words}"));
}

/// What Ollama gives through its older route: lengths as the file says, or as they always were.
#[test]
fn lengths_are_those_of_ollama() {
    for (model, architecture, normalizes, unit) in [
        ("bert-mean", "bert", None, true),
        ("bert-mean", "bert", Some(true), true),
        ("bert-mean", "bert", Some(false), false),
        ("roberta", "bert", None, false),
        ("roberta", "bert", Some(true), false),
        ("nomic-hub", "nomic-bert", None, false),
        ("nomic-hub", "nomic-bert", Some(true), true),
        ("qwen3", "qwen3", None, true),
        ("gemma", "gemma-embedding", None, true),
    ] {
        let mut target = convert::convert(&Source::read(&files(model)), architecture);
        pooled(architecture, 1, normalizes)(&mut target);
        let (files, _folder) = written(&target, GgmlDType::F32);
        let embedder = &embedders(&files)[0];
        let tokens = embedder.tokenize("sky", Prompt::Default, 60, Overflow::Refuse).unwrap();
        let vectors = embedder.embed(&[(&tokens, Output::default())]).unwrap();
        let length = length(vectors[0].as_ref().unwrap());
        assert_eq!((length - 1.0).abs() < 1e-5, unit, "{model} {normalizes:?}: {length}");
        assert_eq!(embedder.description().normalizes, unit);
    }
}

/// A file of this architecture does not say that a token sees only those that stand near.
#[test]
fn mistral() {
    let near = cases("mistral").into_iter().filter(|case| case.ids.len() <= 12);
    check_cases("mistral", "llama", &near.collect::<Vec<_>>(), pooled("llama", 3, None));
}

#[test]
fn distilbert() {
    check_model("distilbert", "bert", pooled("bert", 1, None));
}

#[test]
fn nomic() {
    check_model("nomic-hub", "nomic-bert", pooled("nomic-bert", 1, Some(true)));
}

#[test]
fn jina2() {
    check_model("jina2", "jina-bert-v2", pooled("jina-bert-v2", 1, None));
}

#[test]
fn qwen3() {
    check_model("qwen3", "qwen3", |target| {
        pooled("qwen3", 3, None)(target);
        target.set("tokenizer.ggml.pre", Value::String("qwen2".to_owned()));
    });
}

#[test]
fn qwen2() {
    check_model("qwen2", "qwen2", |target| {
        pooled("qwen2", 3, None)(target);
        target.set("tokenizer.ggml.pre", Value::String("qwen2".to_owned()));
    });
}

#[test]
fn llama() {
    check_model("llama", "llama", |target| {
        target.set("tokenizer.ggml.pre", Value::String("llama-bpe".to_owned()));
    });
}

#[test]
fn modernbert() {
    check_model("modernbert-hub", "modern-bert", |target| {
        pooled("modern-bert", 2, None)(target);
        target.set("tokenizer.ggml.pre", Value::String("modern-bert".to_owned()));
    });
}

#[test]
fn eurobert() {
    check_model("eurobert", "eurobert", pooled("eurobert", 1, None));
}

/// As Ollama made it before: the name of a decoder, other names for the dense layers, and every third layer sees all.
#[test]
fn embedding_gemma_of_old() {
    check_model("gemma", "gemma3", |target| {
        pooled("gemma3", 1, None)(target);
        target.set("gemma3.attention.sliding_window_pattern", Value::U32(3));
        for (from, to) in
            [("dense_2.weight", "dense.0.weight"), ("dense_3.weight", "dense.1.weight")]
        {
            let tensor = target.tensors.remove(from).unwrap();
            target.tensors.insert(to.to_owned(), tensor);
        }
    });
}

/// T5 in a file has no dense layer behind it; what it is compared with are our own vectors of the repository.
#[test]
fn t5() {
    for model in ["t5", "t5-gated"] {
        let mut bare = files(model);
        bare.retain(|name, _| {
            matches!(name.as_str(), "config.json" | "model.safetensors" | "tokenizer.json")
        });
        // Nor does a file say which distances share the last bucket.
        let config = fs::read_to_string(&bare["config.json"]).unwrap();
        let config = config.replace("max_distance\": 40", "max_distance\": 128");
        let folder = tempfile::tempdir().unwrap();
        bare.insert("config.json".to_owned(), folder.path().join("config.json"));
        fs::write(&bare["config.json"], config).unwrap();
        let target = convert::convert(&Source::read(&bare), "t5encoder");
        let (files, _folder) = written(&target, GgmlDType::F32);
        for (plain, embedder) in embedders(&bare).iter().zip(embedders(&files)) {
            let tokens = |embedder: &Embedder| {
                let text = "why is the sky blue? ".repeat(20) + "yes";
                embedder.tokenize(&text, Prompt::Default, 200, Overflow::Refuse).unwrap()
            };
            assert_eq!(tokens(plain).ids, tokens(&embedder).ids);
            let vector = |embedder: &Embedder| {
                let found = embedder.embed(&[(&tokens(embedder), Output::default())]);
                found.unwrap().remove(0).unwrap()
            };
            let (worst, _) = distance(&vector(plain), &vector(&embedder));
            assert!(worst <= TOLERANCE, "{model}: {worst:e}");
        }
    }
}

#[test]
fn embedding_gemma() {
    let kinds = [true, true, false].map(Value::Bool).to_vec();
    let pattern = Value::Array(kinds);
    check_model("gemma", "gemma-embedding", |target| {
        pooled("gemma-embedding", 1, None)(target);
        target.set("gemma-embedding.attention.sliding_window_pattern", pattern.clone());
    });
}
