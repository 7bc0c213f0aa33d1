//! Are weights of tokens and vectors per token those of sentence-transformers and of FlagEmbedding?

use std::{collections::BTreeMap, fs};

use candle_core::{Device, Tensor};
use engine::{
    Arithmetic, Embedder, Files, Output, Outputs, Overflow, Processor, Prompt, Tokens, Vectors,
};
use modelfiles::recipe::{Pooling, Precision, Recipe};
use serde::Deserialize;

use super::{Case, TOLERANCE, at, compare, files};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Both>,
    #[serde(default)]
    tasks: BTreeMap<String, Vec<Both>>,
}

#[derive(Deserialize)]
struct Both {
    #[serde(flatten)]
    text: Text,
    sparse: Vec<(u32, f32)>,
    #[serde(default)]
    embedding: String,
    #[serde(default)]
    multivector: String,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    #[serde(default)]
    repeat: Option<usize>,
    ids: Vec<u32>,
}

const ALL: Outputs = Outputs { dense: true, sparse: true, multivector: true };

fn golden(model: &str) -> Vec<Both> {
    whole(model).cases
}

fn whole(model: &str) -> Golden {
    let path = format!("{}/../tests/goldens/models/{model}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Checks every output of every text, alone and all together, with every arithmetic.
fn check(files: &Files, recipe: &Recipe, prompt: Prompt<'_>, cases: &[Both]) {
    for arithmetic in Arithmetic::all() {
        let processor = Processor { arithmetic, ..Processor::default() };
        let recipe = at(recipe, Precision::F32);
        let embedder = Embedder::load(files, &recipe, &processor).unwrap();
        let tokens: Vec<Tokens> =
            cases.iter().map(|case| tokens(&embedder, prompt, &case.text)).collect();
        let output = Output { outputs: ALL, ..Output::default() };
        let batch: Vec<_> = tokens.iter().map(|tokens| (tokens, output)).collect();
        for ((case, tokens), together) in
            cases.iter().zip(&tokens).zip(embedder.run(&batch).unwrap())
        {
            assert_eq!(tokens.ids, case.text.ids, "ids of {:?}", case.text.text);
            let alone = embedder.run(&[(tokens, output)]).unwrap().remove(0).unwrap();
            let (what, together) =
                (format!("{arithmetic:?} {:?}", case.text.text), together.unwrap());
            // Stock operations sum as it suits them, kernels in one order.
            assert!(arithmetic == Arithmetic::Stock || together == alone, "{what}");
            [alone, together].iter().for_each(|found| check_case(case, found, &what));
        }
    }
}

fn tokens(embedder: &Embedder, prompt: Prompt<'_>, case: &Text) -> Tokens {
    let text = case.text.repeat(case.repeat.unwrap_or(1));
    let limit = embedder.limit(None);
    embedder.tokenize(&text, prompt, limit, Overflow::Truncate).unwrap()
}

fn check_case(case: &Both, found: &Vectors, what: &str) {
    // A weight that is 0 for one side may be as good as 0 for the other.
    let weight = |list: &[(u32, f32)], id: u32| {
        list.iter().find(|(other, _)| *other == id).map_or(0.0, |(_, weight)| *weight)
    };
    assert!(found.sparse.is_sorted_by_key(|(id, _)| *id), "{what}");
    assert!(found.sparse.iter().all(|(_, weight)| *weight > 0.0), "{what}");
    for (id, _) in case.sparse.iter().chain(&found.sparse) {
        let (wanted, found) = (weight(&case.sparse, *id), weight(&found.sparse, *id));
        // Sums over a text are of the order of its length.
        let tolerance = TOLERANCE * wanted.max(1.0);
        assert!((wanted - found).abs() <= tolerance, "{what}, token {id}: {found} for {wanted}");
    }
    let floats = |text: &str| Case::floats(text);
    assert_eq!(found.dense.is_empty(), case.embedding.is_empty(), "{what}");
    if !case.embedding.is_empty() {
        compare(&floats(&case.embedding), &found.dense, what);
        let wanted = floats(&case.multivector);
        let width = found.dense.len();
        assert_eq!(found.multivector.len(), wanted.len() / width, "{what}");
        for (wanted, row) in wanted.chunks(width).zip(&found.multivector) {
            compare(wanted, row, what);
        }
    }
}

#[test]
fn what_is_predicted_in_place_of_tokens() {
    for model in super::SPARSE.iter().filter(|model| **model != "splade-router") {
        check(&files(model), &Recipe::default(), Prompt::Default, &golden(model));
    }
}

/// A folder of transformers does not say that it is used so, but a parameter does.
#[test]
fn a_parameter_makes_a_masked_language_model_sparse() {
    for model in ["splade-bert", "splade-distilbert"] {
        let mut files = files(model);
        files.retain(|name, _| !name.contains("modules.json") && !name.contains("sentence"));
        let recipe = Recipe { pooling: Some(Pooling::Splade), ..Recipe::default() };
        check(&files, &recipe, Prompt::Default, &golden(model));
    }
}

#[test]
fn dense_and_sparse_and_vectors_per_token_of_one_pass() {
    check(&files("bge-m3"), &Recipe::default(), Prompt::Default, &golden("bge-m3"));
}

/// Queries of these models pass no layer, and documents do; whoever says nothing gives documents.
#[test]
fn queries_that_are_looked_up() {
    let golden = whole("splade-router");
    let (files, recipe) = (files("splade-router"), Recipe::default());
    check(&files, &recipe, Prompt::Default, &golden.cases);
    check(&files, &recipe, Prompt::Document, &golden.tasks["document"]);
    check(&files, &recipe, Prompt::Query, &golden.tasks["query"]);
    check(&files, &recipe, Prompt::Own("", Some(true)), &golden.tasks["query"]);
}

#[test]
fn weights_of_queries_in_a_list() {
    let mut files = files("splade-router");
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = fs::read(&files["document_0_Transformer/tokenizer.json"]).unwrap();
    let tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer).unwrap();
    let module = "query_0_SparseStaticEmbedding";
    let tensors = fs::read(&files[&format!("{module}/model.safetensors")]).unwrap();
    let (header, values) = tensors[8..].split_at(tensors[0].into());
    assert!(header.starts_with(b"{\"weight\""), "the file has one tensor");
    let mut list = serde_json::Map::new();
    for (token, id) in tokenizer["model"]["vocab"].as_object().unwrap() {
        let at = 4 * id.as_u64().unwrap() as usize;
        let weight = f32::from_le_bytes(values[at..at + 4].try_into().unwrap());
        list.insert(token.clone(), weight.into());
    }
    for (name, text) in [
        (format!("{module}/config.json"), r#"{"path": "idf.json"}"#.to_owned()),
        ("idf.json".to_owned(), serde_json::Value::from(list).to_string()),
    ] {
        let path = folder.path().join(name.replace('/', "-"));
        fs::write(&path, text).unwrap();
        files.insert(name, path);
    }
    files.remove(&format!("{module}/model.safetensors"));
    let cases = &whole("splade-router").tasks["query"];
    check(&files, &Recipe::default(), Prompt::Query, cases);
}

#[test]
fn layers_of_their_own_for_queries() {
    let tasks = super::golden("bert-router").tasks;
    for (prompt, cases) in [(Prompt::Query, "query"), (Prompt::Document, "document")] {
        super::check(&files("bert-router"), &Recipe::default(), prompt, &tasks[cases]);
    }
}

/// mGTE weighs the tokens of a text by a classifier: here one that is added to another model's file, and what comes
/// of it is worked out from the hidden states, which have goldens of their own.
#[test]
fn weights_by_a_classifier() {
    let mut files = files("gte-hub");
    let folder = tempfile::tempdir().unwrap();
    let put = |files: &mut Files, name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        files.insert(name.to_owned(), folder.path().join(name));
    };
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(&files["config.json"]).unwrap()).unwrap();
    config["architectures"] = serde_json::json!(["NewModel", "NewForTokenClassification"]);
    put(&mut files, "config.json", config.to_string().as_bytes());
    let mut tensors =
        candle_core::safetensors::load(&files["model.safetensors"], &Device::Cpu).unwrap();
    let width = config["hidden_size"].as_u64().unwrap() as usize;
    let weight: Vec<f32> = (0..width).map(|i| (i * 7 % 11) as f32 / 11.0 - 0.4).collect();
    let of = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
    tensors.insert("classifier.weight".to_owned(), of(&weight, &[1, width]).unwrap());
    tensors.insert("classifier.bias".to_owned(), of(&[0.1], &[1]).unwrap());
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    files.insert("model.safetensors".to_owned(), folder.path().join("model.safetensors"));
    for arithmetic in Arithmetic::all() {
        let processor = Processor { arithmetic, ..Processor::default() };
        let recipe = at(&Recipe::default(), Precision::F32);
        let embedder = Embedder::load(&files, &recipe, &processor).unwrap();
        for case in super::golden("gte-hub").cases {
            let limit = embedder.limit(None);
            let tokens = embedder
                .tokenize(&case.text(), Prompt::Default, limit, Overflow::Truncate)
                .unwrap();
            let output = Output { outputs: ALL, ..Output::default() };
            let found = embedder.run(&[(&tokens, output)]).unwrap().remove(0).unwrap();
            let mut wanted = BTreeMap::new();
            // XLM-RoBERTa's tokens for start, padding, end and what is unknown have no weight.
            let rows = tokens.ids.iter().zip(&found.multivector).filter(|(id, _)| **id > 3);
            for (id, row) in rows {
                let sum = row.iter().zip(&weight).map(|(x, w)| x * w).sum::<f32>() + 0.1;
                let most = wanted.entry(*id).or_insert(0.0f32);
                *most = most.max(sum);
            }
            wanted.retain(|_, weight| *weight > 0.0);
            assert_eq!(wanted.len(), found.sparse.len(), "{arithmetic:?} {:?}", case.text);
            for ((id, wanted), (other, found)) in wanted.into_iter().zip(found.sparse) {
                assert!(id == other && (wanted - found).abs() <= TOLERANCE * wanted.max(1.0));
            }
        }
    }
}

/// Half precision and integers keep the weights that count.
#[test]
fn narrow_weights_stay_close() {
    for precision in [Precision::Bf16, Precision::Int8] {
        for model in ["splade-bert", "splade-distilbert", "splade-sum", "bge-m3"] {
            let recipe = at(&Recipe::default(), precision);
            let embedder = Embedder::load(&files(model), &recipe, &Processor::default()).unwrap();
            let output = Output { outputs: ALL, ..Output::default() };
            let (mut wrong, mut all) = (0.0, 0.0);
            for case in golden(model) {
                let tokens = tokens(&embedder, Prompt::Default, &case.text);
                let found = embedder.run(&[(&tokens, output)]).unwrap().remove(0).unwrap();
                for (id, wanted) in &case.sparse {
                    let found = found.sparse.iter().find(|(other, _)| other == id);
                    wrong += (wanted - found.map_or(0.0, |(_, weight)| *weight)).abs();
                    all += wanted;
                }
            }
            assert!(wrong <= 0.05 * all, "{precision} {model}: {wrong} of {all}");
        }
    }
}

#[test]
fn rows_of_tokens_are_the_vectors_of_a_model_without_a_layer_for_them() {
    let embedder =
        Embedder::load(&files("bert-plain"), &Recipe::default(), &Processor::default()).unwrap();
    let case = Text { text: "why is the sky blue?".to_owned(), repeat: None, ids: Vec::new() };
    let tokens = tokens(&embedder, Prompt::Default, &case);
    let output = Output { outputs: ALL, ..Output::default() };
    let found = embedder.run(&[(&tokens, output)]).unwrap().remove(0).unwrap();
    assert_eq!(found.multivector.len(), tokens.ids.len());
    // This model takes the mean of them.
    let mean = (0..found.dense.len())
        .map(|i| found.multivector.iter().map(|row| row[i]).sum::<f32>() / tokens.ids.len() as f32);
    compare(&found.dense, &mean.collect::<Vec<_>>(), "the mean of all rows");
    assert!(found.sparse.is_empty() && !embedder.description().outputs.sparse);
}

/// A text that fits has its own vector, whatever is said of parts; of others the parts have theirs.
#[test]
fn parts_of_texts() {
    let embedder =
        Embedder::load(&files("bert-prompts"), &Recipe::default(), &Processor::default()).unwrap();
    assert!(embedder.knows_parts());
    let text = "why is the sky blue? Nobody knows. Why is the grass green? I do.";
    let limit = embedder.limit(None);
    let output = Output::default();
    let embed = |tokens: &Tokens| embedder.run(&[(tokens, output)]).unwrap().remove(0).unwrap();
    let whole = embed(&embedder.tokenize(text, Prompt::Query, limit, Overflow::Refuse).unwrap());
    let all = embedder.split(text, Prompt::Query, limit).unwrap();
    assert_eq!((all.len(), &all[0]), (1, &(0..text.len())));
    let late = embed(&embedder.tokenize_parts(text, Prompt::Query, limit, &all).unwrap());
    assert_eq!((late.dense.len(), &late.parts[0]), (0, &whole.dense));

    let parts = embedder.split(text, Prompt::Query, 24).unwrap();
    assert!(parts.len() > 1, "{parts:?}");
    for part in &parts {
        let part = &text[part.clone()];
        embedder.tokenize(part, Prompt::Query, 24, Overflow::Refuse).unwrap();
        assert!(part.ends_with(['?', '.']), "{part}");
    }
    let late = embed(&embedder.tokenize_parts(text, Prompt::Query, limit, &parts).unwrap());
    assert_eq!(late.parts.len(), parts.len());
    let norm = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(late.parts.iter().all(|part| (norm(part) - 1.0).abs() < 1e-6 && *part != whole.dense));

    // What the parts give when each is read alone, weighted by their tokens.
    let given = |part: &std::ops::Range<usize>| {
        let part = &text[part.clone()];
        let tokens = embedder.tokenize(part, Prompt::Query, limit, Overflow::Refuse).unwrap();
        (tokens.ids.len(), embed(&tokens))
    };
    let given: Vec<(usize, Vectors)> = parts.iter().map(given).collect();
    let mut wanted = vec![0.0; whole.dense.len()];
    for (tokens, vectors) in &given {
        wanted.iter_mut().zip(&vectors.dense).for_each(|(sum, x)| *sum += *tokens as f32 * x);
    }
    let length = norm(&wanted);
    wanted.iter_mut().for_each(|x| *x /= length);
    compare(&wanted, &embedder.combine(given, output).dense, "the mean of parts");
}
