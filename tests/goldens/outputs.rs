//! Are weights of tokens and vectors per token those of sentence-transformers and of FlagEmbedding?

use engine::{Arithmetic, Embedder, Files, Output, Outputs, Processor, Tokens, Vectors};
use modelfiles::recipe::{Pooling, Precision, Recipe};
use serde::Deserialize;

use super::{Case, TOLERANCE, at, compare, files};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Both>,
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
    let path = format!("{}/../tests/goldens/models/{model}.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    golden.cases
}

/// Checks every output of every text, alone and all together, with every arithmetic.
fn check(files: &Files, recipe: &Recipe, cases: &[Both]) {
    for arithmetic in Arithmetic::all() {
        let processor = Processor { arithmetic, ..Processor::default() };
        let recipe = at(recipe, Precision::F32);
        let embedder = Embedder::load(files, &recipe, &processor).unwrap();
        let tokens: Vec<Tokens> = cases.iter().map(|case| tokens(&embedder, &case.text)).collect();
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

fn tokens(embedder: &Embedder, case: &Text) -> Tokens {
    let text = case.text.repeat(case.repeat.unwrap_or(1));
    let limit = embedder.limit(None);
    embedder.tokenize(&text, engine::Prompt::Default, limit, engine::Overflow::Truncate).unwrap()
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
    for model in ["splade-bert", "splade-distilbert", "splade-sum"] {
        check(&files(model), &Recipe::default(), &golden(model));
    }
}

/// A folder of transformers does not say that it is used so, but a parameter does.
#[test]
fn a_parameter_makes_a_masked_language_model_sparse() {
    for model in ["splade-bert", "splade-distilbert"] {
        let mut files = files(model);
        files.retain(|name, _| !name.contains("modules.json") && !name.contains("sentence"));
        let recipe = Recipe { pooling: Some(Pooling::Splade), ..Recipe::default() };
        check(&files, &recipe, &golden(model));
    }
}

#[test]
fn dense_and_sparse_and_vectors_per_token_of_one_pass() {
    check(&files("bge-m3"), &Recipe::default(), &golden("bge-m3"));
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
                let tokens = tokens(&embedder, &case.text);
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
    let tokens = tokens(&embedder, &case);
    let output = Output { outputs: ALL, ..Output::default() };
    let found = embedder.run(&[(&tokens, output)]).unwrap().remove(0).unwrap();
    assert_eq!(found.multivector.len(), tokens.ids.len());
    // This model takes the mean of them.
    let mean = (0..found.dense.len())
        .map(|i| found.multivector.iter().map(|row| row[i]).sum::<f32>() / tokens.ids.len() as f32);
    compare(&found.dense, &mean.collect::<Vec<_>>(), "the mean of all rows");
    assert!(found.sparse.is_empty() && !embedder.description().outputs.sparse);
}
