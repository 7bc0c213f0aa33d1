//! Does the engine give the vectors of sentence-transformers? Tiny random models of every architecture and layout,
//! against goldens that `goldens/make.py` made.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::{
    Arithmetic, Description, Embedder, Error, Files, Isa, Output, Overflow, Processor, Prompt,
    Threads, Tokens,
};
use modelfiles::recipe::{Pooling, Precision, Recipe, Side};
use serde::Deserialize;

/// Largest difference of any value of two normalised vectors. Both sides compute in f32 and sum in different orders;
/// the goldens are within 4e-7 of themselves in batches, and the nearest real mistake (tanh GELU) is 7e-5 away.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    #[serde(default)]
    poolings: BTreeMap<String, Vec<Case>>,
    #[serde(default)]
    activations: BTreeMap<String, Vec<Case>>,
    #[serde(default)]
    truncation: BTreeMap<String, Vec<Case>>,
    #[serde(default)]
    tasks: BTreeMap<String, Vec<Case>>,
    #[serde(default)]
    attention: BTreeMap<String, Vec<Case>>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    #[serde(default)]
    repeat: Option<usize>,
    /// Tokens before truncation; only there when the text was cut.
    #[serde(default)]
    tokens: Option<usize>,
    ids: Vec<u32>,
    embedding: String,
}

impl Case {
    fn text(&self) -> String {
        self.text.repeat(self.repeat.unwrap_or(1))
    }

    fn vector(&self) -> Vec<f32> {
        let bytes = STANDARD.decode(&self.embedding).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

fn golden(model: &str) -> Golden {
    let path = format!("{}/../tests/goldens/models/{model}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns every file of a model's folder by its path in there.
fn files(model: &str) -> Files {
    let root = format!("{}/../tests/goldens/models/{model}", env!("CARGO_MANIFEST_DIR"));
    let mut files = Files::new();
    walk(Path::new(&root), "", &mut files);
    files
}

fn walk(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            walk(&path, &format!("{name}/"), files);
        } else {
            drop(files.insert(name, path));
        }
    }
}

fn describe(files: &Files) -> Result<Description, Error> {
    engine::describe(files, &Recipe::default(), &Processor::default())
}

/// Loads a model for the best arithmetic, in f32.
fn load(files: &Files, recipe: &Recipe) -> Result<Embedder, Error> {
    Embedder::load(files, &at(recipe, Precision::F32), &Processor::default())
}

/// Returns the recipe at a precision.
fn at(recipe: &Recipe, precision: Precision) -> Recipe {
    Recipe { precision: Some(precision), ..recipe.clone() }
}

/// Checks every arithmetic that this processor has, in f32.
fn check(files: &Files, recipe: &Recipe, prompt: Prompt, cases: &[Case]) {
    for arithmetic in Arithmetic::all() {
        let processor = Processor { arithmetic, ..Processor::default() };
        let recipe = at(recipe, Precision::F32);
        check_embedder(&Embedder::load(files, &recipe, &processor).unwrap(), prompt, cases);
    }
}

/// Embeds every case alone and all together, and compares tokens and vectors.
fn check_embedder(embedder: &Embedder, prompt: Prompt, cases: &[Case]) {
    let limit = embedder.limit(None);
    let tokens: Vec<Tokens> = cases
        .iter()
        .map(|case| embedder.tokenize(&case.text(), prompt, limit, Overflow::Truncate).unwrap())
        .collect();
    let output = Output::default();
    let batch: Vec<_> = tokens.iter().map(|tokens| (tokens, output)).collect();
    let together = embedder.embed(&batch).unwrap();
    for ((case, tokens), together) in cases.iter().zip(&tokens).zip(together) {
        assert_eq!(tokens.ids, case.ids, "ids of {:?}", case.text);
        assert_eq!(tokens.truncated, case.tokens.is_some(), "cut of {:?}", case.text);
        let alone = embedder.embed(&[(tokens, output)]).unwrap().remove(0).unwrap();
        compare(&case.vector(), &alone, &format!("{:?} alone", case.text));
        compare(&case.vector(), &together.unwrap(), &format!("{:?} in a batch", case.text));
    }
}

/// Compares two vectors by the greatest difference, relative to the length of the wanted one.
fn compare(want: &[f32], got: &[f32], what: &str) {
    assert_eq!(want.len(), got.len(), "length of {what}");
    let norm = want.iter().map(|x| x * x).sum::<f32>().sqrt();
    let worst = want.iter().zip(got).map(|(a, b)| (a - b).abs() / norm).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{what}: {worst:e}");
}

fn check_model(model: &str) {
    check(&files(model), &Recipe::default(), Prompt::Default, &golden(model).cases);
}

macro_rules! models {
    ($($test:ident $model:literal;)*) => {
        $(#[test] fn $test() { check_model($model) })*
        /// A golden without a test would prove nothing.
        #[test]
        fn every_golden_has_a_test() {
            let folder = format!("{}/../tests/goldens/models", env!("CARGO_MANIFEST_DIR"));
            let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            for path in names.filter(|path| path.is_dir()) {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                assert!([$($model),*].contains(&name.as_str()), "{name}");
            }
        }
    };
}

models! {
    pytorch_file "bert-bin";
    dense_layers "bert-dense";
    half_precision_file "bert-f16";
    prompt_outside_the_pooling "bert-instruct";
    bert "bert-mean";
    two_poolings "bert-multi";
    old_layout "bert-old";
    no_modules "bert-plain";
    names_of_pretraining "bert-pretraining";
    default_prompt "bert-prompts";
    sharded "bert-sharded";
    camembert "camembert";
    distilbert "distilbert";
    qwen3 "qwen3";
    qwen3_without_modules "qwen3-plain";
    roberta "roberta";
    xlm_roberta "xlm-roberta";
}

#[test]
fn every_pooling_of_the_recipe() {
    for (name, cases) in golden("bert-mean").poolings {
        let pooling = Pooling::parse(&name).unwrap();
        let recipe = Recipe { pooling: Some(pooling), ..Recipe::default() };
        check(&files("bert-mean"), &recipe, Prompt::Default, &cases);
    }
}

/// Returns the files of a model with one text in its configuration replaced.
fn reconfigured(model: &str, from: &str, to: &str) -> (Files, tempfile::TempDir) {
    let mut files = files(model);
    let config = fs::read_to_string(&files["config.json"]).unwrap();
    let changed = config.replace(from, to);
    assert_ne!(config, changed, "{from} is in config.json");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, changed).unwrap();
    files.insert("config.json".to_owned(), path);
    (files, folder)
}

#[test]
fn every_activation() {
    for (name, cases) in golden("bert-mean").activations {
        let wanted = format!("\"hidden_act\": \"{name}\"");
        let (files, _folder) = reconfigured("bert-mean", "\"hidden_act\": \"gelu\"", &wanted);
        check(&files, &Recipe::default(), Prompt::Default, &cases);
    }
}

#[test]
fn what_cannot_run_says_so() {
    for (from, to, words) in [
        ("\"BertModel\"", "\"BertForSequenceClassification\"", "rerankers and classifiers"),
        ("\"model_type\": \"bert\"", "\"model_type\": \"mamba\"", "architecture 'mamba'"),
        ("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"laplace\"", "activation 'laplace'"),
    ] {
        let (files, _folder) = reconfigured("bert-mean", from, to);
        let error = describe(&files).unwrap_err().to_string();
        assert_eq!(error, format!("{words} cannot run in this version"));
    }
}

#[test]
fn a_decoder_that_looks_both_ways() {
    let cases = &golden("qwen3-plain").attention["both ways"];
    let (files, _folder) = reconfigured("qwen3-plain", "{\n", "{\n\"is_causal\": false,\n");
    let recipe = Recipe { pooling: Some(Pooling::Last), ..Recipe::default() };
    check(&files, &recipe, Prompt::Default, cases);
}

#[test]
fn other_positions_and_attention_are_refused_by_name() {
    let yarn = "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0}";
    let window = "\"use_sliding_window\": true, \"max_window_layers\": 1, \"sliding_window\": 16";
    let wide = window.replace("16", "64");
    let no_window = "\"use_sliding_window\": false";
    for (model, from, to, words) in [
        ("qwen3", "\"rope_scaling\": null", yarn, "rotary positions 'yarn'"),
        ("qwen3-plain", "\"default\"", "\"llama3\"", "rotary positions 'llama3'"),
        ("qwen3-plain", "\"full_attention\"", "\"sliding_attention\"", "a sliding window"),
        ("qwen3", no_window, window, "a sliding window"),
        ("qwen3", no_window, &wide, ""),
        ("qwen3", "\"attention_bias\": false", "\"attention_bias\": true", "attention biases"),
    ] {
        let (files, _folder) = reconfigured(model, from, to);
        match describe(&files) {
            Ok(_) => assert_eq!(words, "", "{to} is refused"),
            Err(error) => {
                assert_eq!(error.to_string(), format!("{words} cannot run in this version"));
            }
        }
    }
}

#[test]
fn hostile_sizes_are_refused() {
    for (from, to) in [
        ("\"hidden_size\": 32", "\"hidden_size\": 0"),
        ("\"hidden_size\": 32", "\"hidden_size\": 33"),
        ("\"hidden_size\": 32", "\"hidden_size\": -32"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1e9"),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 0"),
        ("\"vocab_size\":", "\"vocab_size\": 99999999999, \"x\":"),
    ] {
        let (files, _folder) = reconfigured("bert-mean", from, to);
        assert!(describe(&files).is_err(), "{to}");
    }
    for (from, to) in [
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"),
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0"),
        ("\"head_dim\": 16", "\"head_dim\": 15"),
        ("\"head_dim\": 16", "\"head_dim\": 200000"),
        ("\"rope_theta\": 1000000.0", "\"rope_theta\": 0"),
        ("\"rope_theta\": 1000000.0", "\"rope_theta\": \"x\""),
    ] {
        let (files, _folder) = reconfigured("qwen3", from, to);
        assert!(describe(&files).is_err(), "{to}");
    }
    // A size that is possible but not that of the tensors fails when they are read.
    let (files, _folder) =
        reconfigured("bert-mean", "\"intermediate_size\": 48", "\"intermediate_size\": 64");
    assert!(load(&files, &Recipe::default()).is_err());
}

#[test]
fn truncation_on_the_left() {
    let recipe = Recipe { truncation_side: Some(Side::Left), ..Recipe::default() };
    check(&files("bert-mean"), &recipe, Prompt::Default, &golden("bert-mean").truncation["left"]);
}

#[test]
fn query_and_document_prompts() {
    for model in ["bert-prompts", "bert-instruct", "qwen3"] {
        let tasks = golden(model).tasks;
        check(&files(model), &Recipe::default(), Prompt::Query, &tasks["query"]);
        check(&files(model), &Recipe::default(), Prompt::Document, &tasks["document"]);
    }
}

/// A text's vector is its own, bit for bit: alone, in any batch, on any number of threads.
/// Numbers below a bound, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

/// A vector is the same bit for bit alone, in any batch and at any number of threads.
#[test]
fn no_vector_depends_on_its_neighbours() {
    let isas = Isa::all().into_iter().map(Arithmetic::Kernels);
    let threads = [1, 2, 3].map(|count| Arc::new(Threads::new(count)));
    for arithmetic in isas {
        for precision in PRECISIONS {
            for model in ["bert-mean", "qwen3"] {
                let recipe = at(&Recipe::default(), precision);
                let embedders = threads.clone().map(|threads| {
                    let processor = Processor { arithmetic, threads };
                    Embedder::load(&files(model), &recipe, &processor).unwrap()
                });
                check_neighbours(&embedders, &format!("{arithmetic:?} {precision} {model}"));
            }
        }
    }
}

fn check_neighbours(embedders: &[Embedder], what: &str) {
    let mut dice = Dice(7);
    let words =
        ["sky", "blue", "why", "is", "the", "embedding", "of", "Straße", "数据库", "a", "?"];
    let texts = (0..50).map(|_| {
        let length = [1, 3, 9, 30, 60][dice.below(5)] + dice.below(3);
        (0..length).map(|_| words[dice.below(words.len())]).collect::<Vec<_>>().join(" ")
    });
    let tokens: Vec<Tokens> = texts
        .map(|text| embedders[0].tokenize(&text, Prompt::Default, 64, Overflow::Truncate).unwrap())
        .collect();
    let embed = |embedder: &Embedder, places: &[usize]| {
        let texts: Vec<_> = places.iter().map(|i| (&tokens[*i], Output::default())).collect();
        embedder.embed(&texts).unwrap()
    };
    let alone: Vec<_> = (0..tokens.len()).flat_map(|i| embed(&embedders[0], &[i])).collect();
    for round in 0..20 {
        let count = 1 + dice.below(tokens.len());
        let places: Vec<usize> = (0..count).map(|_| dice.below(tokens.len())).collect();
        for embedder in embedders {
            let got = embed(embedder, &places);
            for (place, got) in places.iter().zip(got) {
                assert_eq!(got, alone[*place], "{what}, round {round}, text {place}");
            }
        }
    }
}

/// How near narrower numbers come to the goldens of tiny random models, whose layers forgive less than trained ones.
#[test]
fn narrower_numbers_stay_close() {
    for isa in Isa::all() {
        let processor = Processor { arithmetic: Arithmetic::Kernels(isa), ..Processor::default() };
        for (precision, least) in [(Precision::Bf16, 0.9995), (Precision::Int8, 0.99)] {
            for model in ["bert-mean", "distilbert", "xlm-roberta", "qwen3"] {
                let recipe = at(&Recipe::default(), precision);
                let embedder = Embedder::load(&files(model), &recipe, &processor).unwrap();
                for case in golden(model).cases {
                    let limit = embedder.limit(None);
                    let text = case.text();
                    let tokens = embedder
                        .tokenize(&text, Prompt::Default, limit, Overflow::Truncate)
                        .unwrap();
                    let vector =
                        embedder.embed(&[(&tokens, Output::default())]).unwrap().remove(0).unwrap();
                    let cosine = cosine(&case.vector(), &vector);
                    assert!(cosine >= least, "{isa:?} {precision} {model} {text:?}: {cosine}");
                }
            }
        }
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_recipe_overrules_the_repository() {
    let recipe = Recipe { normalize: Some(false), dimensions: Some(8), ..Recipe::default() };
    let embedder = load(&files("bert-mean"), &recipe).unwrap();
    let tokens = embedder.tokenize("hello", Prompt::Default, 64, Overflow::Refuse).unwrap();
    let embed = |output| embedder.embed(&[(&tokens, output)]).unwrap().remove(0).unwrap();
    let norm = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let raw = embed(Output::default());
    assert_eq!(raw.len(), 8);
    assert!((norm(&raw) - 1.0).abs() > 1e-3, "not normalised: {}", norm(&raw));
    let wanted = embed(Output { normalize: true, dimensions: Some(4) });
    assert_eq!(wanted.len(), 4);
    assert!((norm(&wanted) - 1.0).abs() < 1e-6);
}

#[test]
fn limits_are_kept_or_refused() {
    let embedder = load(&files("bert-mean"), &Recipe::default()).unwrap();
    let text = "why is the sky blue? ".repeat(40);
    let cut = embedder
        .tokenize(&text, Prompt::Default, embedder.limit(Some(9)), Overflow::Truncate)
        .unwrap();
    assert_eq!((cut.ids.len(), cut.truncated), (9, true));
    let refused = embedder.tokenize(&text, Prompt::Default, 9, Overflow::Refuse).unwrap_err();
    assert_eq!(refused.to_string(), "the input length exceeds the context length");
    let no_room = embedder.tokenize(&text, Prompt::Default, 2, Overflow::Truncate).unwrap_err();
    assert_eq!(no_room.to_string(), "input after truncation exceeds maximum context length");
    assert_eq!(embedder.limit(Some(usize::MAX)), 64, "the position table is the last word");
}

/// The cost of a text is bounded by what the model reads of it, and nothing that it reads changes.
#[test]
fn a_far_too_long_text_is_cut_like_any_other() {
    for (model, side) in
        [("bert-mean", Side::Right), ("bert-mean", Side::Left), ("xlm-roberta", Side::Right)]
    {
        let recipe = Recipe { truncation_side: Some(side), ..Recipe::default() };
        let embedder = load(&files(model), &recipe).unwrap();
        let ids = |text: &str| {
            let tokens = embedder.tokenize(text, Prompt::Default, 64, Overflow::Truncate).unwrap();
            assert!(tokens.truncated);
            tokens.ids
        };
        for text in ["why is the sky blue? ", "你好，世界。", "licensor ünder 12,345 — grants\n"]
        {
            let whole = text.repeat(60_000 / text.len());
            assert_eq!(
                ids(&text.repeat(3_000_000 / text.len())),
                ids(&whole),
                "{model} {side:?} {text:?}"
            );
        }
        let refused =
            embedder.tokenize(&"x y ".repeat(1 << 20), Prompt::Default, 64, Overflow::Refuse);
        assert!(refused.is_err());
    }
}

#[test]
fn a_vocabulary_without_a_tokenizer_file_is_word_piece() {
    let mut files = files("bert-mean");
    let tokenizer: serde_json::Value =
        serde_json::from_slice(&fs::read(files.remove("tokenizer.json").unwrap()).unwrap())
            .unwrap();
    let mut vocabulary: Vec<(u64, String)> = tokenizer["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(token, id)| (id.as_u64().unwrap(), token.clone()))
        .collect();
    vocabulary.sort();
    let lines: Vec<String> = vocabulary.into_iter().map(|(_, token)| token).collect();
    let folder = tempfile::tempdir().unwrap();
    let put = |files: &mut Files, name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        files.insert(name.to_owned(), path);
    };
    put(&mut files, "vocab.txt", &lines.join("\n"));
    check(&files, &Recipe::default(), Prompt::Default, &golden("bert-mean").cases);
    let ids = |files: &Files, text: &str| {
        let embedder = load(files, &Recipe::default()).unwrap();
        embedder.tokenize(text, Prompt::Default, 64, Overflow::Truncate).unwrap().ids
    };
    assert_eq!(ids(&files, "SKY"), ids(&files, "sky"));
    put(&mut files, "tokenizer_config.json", r#"{"do_lower_case": false}"#);
    assert_ne!(ids(&files, "SKY"), ids(&files, "sky"), "a cased model keeps its capitals");
    assert_eq!(ids(&files, "[SEP]").len(), 3, "a special token is one token in a text too");
}

#[test]
fn the_plan_counts_every_byte_before_loading() {
    for model in ["bert-mean", "roberta", "distilbert", "qwen3", "qwen3-plain"] {
        let description = describe(&files(model)).unwrap();
        let described = description.plan.weights();
        // A pooler in the file is the only thing that no plan has a slot for.
        let pooler = description.parameters - described;
        let hidden = description.plan.hidden as u64;
        assert!(
            [0, hidden * hidden + hidden].contains(&pooler),
            "{model}: {pooler} weights without slot"
        );
    }
}
