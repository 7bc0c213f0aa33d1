//! Does the engine give the vectors of sentence-transformers? Tiny random models of every architecture and layout,
//! against goldens that `goldens/make.py` made.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "goldens/candle.rs"]
mod candle;
#[path = "goldens/folder.rs"]
mod folder;
#[path = "goldens/hub.rs"]
mod hub;
#[path = "goldens/images.rs"]
mod images;
#[path = "goldens/outputs.rs"]
mod outputs;
#[path = "goldens/precisions.rs"]
mod precisions;
#[path = "goldens/refusals.rs"]
mod refusals;
#[path = "goldens/rerank.rs"]
mod rerank;
#[path = "goldens/tasks.rs"]
mod tasks;

use std::{collections::BTreeMap, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::{
    Arithmetic, Description, Embedder, Error, Files, Output, Overflow, Processor, Prompt, Tokens,
};
use folder::files;
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
    #[serde(default)]
    adapters: BTreeMap<String, Vec<Case>>,
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
        Self::floats(&self.embedding)
    }

    fn floats(text: &str) -> Vec<f32> {
        let bytes = STANDARD.decode(text).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

fn golden(model: &str) -> Golden {
    let path = format!("{}/../tests/goldens/models/{model}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
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
fn check(files: &Files, recipe: &Recipe, prompt: Prompt<'_>, cases: &[Case]) {
    for arithmetic in Arithmetic::all() {
        let processor = Processor { arithmetic, ..Processor::default() };
        let recipe = at(recipe, Precision::F32);
        check_embedder(&Embedder::load(files, &recipe, &processor).unwrap(), prompt, cases);
    }
}

/// Embeds every case alone and all together, and compares tokens and vectors.
fn check_embedder(embedder: &Embedder, prompt: Prompt<'_>, cases: &[Case]) {
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
                let name = &path.file_name().unwrap().to_str().unwrap();
                let is_tested = [$($model),*].contains(name)
                    || RERANKERS.contains(name) || SPARSE.contains(name) || images::MODELS.contains(name);
                assert!(is_tested, "{name}");
            }
        }
    };
}

/// Goldens of pairs, see rerank.rs.
const RERANKERS: &[&str] = &[
    "rerank-bert",
    "rerank-deberta",
    "rerank-distilbert",
    "rerank-modernbert",
    "rerank-ms-marco",
    "rerank-qwen3",
    "rerank-xlm-roberta",
];

/// Goldens without a vector, see outputs.rs.
const SPARSE: &[&str] = &[
    "splade-bert",
    "splade-distilbert",
    "splade-modernbert",
    "splade-mpnet",
    "splade-router",
    "splade-sum",
];

models! {
    bge_m3_dense "bge-m3";
    model2vec "model2vec";
    model2vec_with_shared_rows "model2vec-mapped";
    static_rows "static";
    static_rows_normalised "static-normalised";
    pytorch_file "bert-bin";
    dense_layers "bert-dense";
    dense_layer_that_is_added_and_a_norm "bert-normed";
    half_precision_file "bert-f16";
    prompt_outside_the_pooling "bert-instruct";
    bert "bert-mean";
    two_poolings "bert-multi";
    old_layout "bert-old";
    no_modules "bert-plain";
    names_of_pretraining "bert-pretraining";
    layers_of_their_own_for_queries "bert-router";
    default_prompt "bert-prompts";
    sharded "bert-sharded";
    camembert "camembert";
    distilbert "distilbert";
    dpr_context_with_projection "dpr-context";
    dpr_question "dpr-question";
    qwen3 "qwen3";
    qwen3_without_modules "qwen3-plain";
    roberta "roberta";
    xlm_roberta "xlm-roberta";
    mpnet "mpnet";
    deberta "deberta";
    nomic "nomic";
    nomic_hub "nomic-hub";
    nomic_moe "nomic-moe";
    gte "gte";
    gte_hub "gte-hub";
    gte_ntk "gte-ntk";
    gte_ntk_hub "gte-ntk-hub";
    modernbert "modernbert";
    modernbert_hub "modernbert-hub";
    t5 "t5";
    t5_gated "t5-gated";
    qwen2 "qwen2";
    qwen2_hub "qwen2-hub";
    llama "llama";
    llama_scaled "llama-scaled";
    mistral "mistral";
    gemma "gemma";
    gemma_hub "gemma-hub";
    eurobert "eurobert";
    eurobert_hub "eurobert-hub";
    jina3 "jina3";
    jina3_hub "jina3-hub";
    jina2 "jina2";
    jina2_code "jina2-code";
}

#[test]
fn every_pooling_of_the_recipe() {
    let poolings = golden("bert-mean").poolings;
    assert_eq!(poolings.len(), 6);
    for (name, cases) in poolings {
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
    let activations = golden("bert-mean").activations;
    assert_eq!(activations.len(), 6);
    for (name, cases) in activations {
        let wanted = format!("\"hidden_act\": \"{name}\"");
        let (files, _folder) = reconfigured("bert-mean", "\"hidden_act\": \"gelu\"", &wanted);
        check(&files, &Recipe::default(), Prompt::Default, &cases);
    }
}

#[test]
fn a_decoder_that_looks_both_ways() {
    for (model, pooling) in [("qwen3-plain", Pooling::Last), ("llama-scaled", Pooling::Mean)] {
        let cases = &golden(model).attention["both ways"];
        let (files, _folder) = reconfigured(model, "{\n", "{\n\"is_causal\": false,\n");
        let recipe = Recipe { pooling: Some(pooling), ..Recipe::default() };
        check(&files, &recipe, Prompt::Default, cases);
    }
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
    let wanted = embed(Output { normalize: true, dimensions: Some(4), ..Output::default() });
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
    for model in [
        "bert-mean",
        "roberta",
        "distilbert",
        "qwen3",
        "qwen3-plain",
        "mpnet",
        "deberta",
        "nomic",
        "nomic-moe",
        "gte",
        "jina2",
        "jina2-code",
        "jina3",
        "jina3-hub",
        "modernbert",
        "t5",
        "qwen2",
        "llama",
        "mistral",
        "gemma",
        "eurobert",
    ] {
        let description = describe(&files(model)).unwrap();
        let described = description.plan.weights();
        // A pooler in the file is the only thing that no plan has a slot for.
        let pooler = description.parameters - described;
        let hidden = description.plan.hidden as u64;
        let small = description.plan.adapters.as_ref().map_or(0, |all| all.tasks.len() * all.rank);
        let small = small as u64 * 2 * hidden;
        assert!(
            [0, hidden * hidden + hidden + small].contains(&pooler),
            "{model}: {pooler} weights without slot"
        );
    }
}
