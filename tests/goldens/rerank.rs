//! Do rerankers give the numbers and scores of sentence-transformers' CrossEncoder?

use engine::{Arithmetic, Embedder, Output, Processor, Tokens};
use modelfiles::recipe::{Precision, Recipe};
use serde::Deserialize;

use super::{at, files, reconfigured};

/// A number that comes out of random weights is of the order of 1; both sides sum in f32, in different orders.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    #[serde(default)]
    classifier_pooling: std::collections::BTreeMap<String, Vec<Case>>,
}

#[derive(Deserialize)]
struct Case {
    query: String,
    #[serde(default)]
    query_repeat: Option<usize>,
    document: String,
    #[serde(default)]
    document_repeat: Option<usize>,
    ids: Vec<u32>,
    logit: f32,
    score: f32,
}

fn golden(model: &str) -> Golden {
    let path = format!("{}/../tests/goldens/models/{model}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Scores every pair alone and all together, with every arithmetic that this processor has.
fn check(files: &engine::Files, cases: &[Case]) {
    for arithmetic in Arithmetic::all() {
        let processor = Processor { arithmetic, ..Processor::default() };
        let recipe = at(&Recipe::default(), Precision::F32);
        let embedder = Embedder::load(files, &recipe, &processor).unwrap();
        let scoring = embedder.description().scoring.expect("a reranker has one");
        let pairs: Vec<Tokens> = cases.iter().map(|case| tokens(&embedder, case)).collect();
        let batch: Vec<_> = pairs.iter().map(|pair| (pair, Output::default())).collect();
        let together = embedder.embed(&batch).unwrap();
        for ((case, pair), together) in cases.iter().zip(&pairs).zip(together) {
            assert_eq!(pair.ids, case.ids, "ids of {:?}", case.query);
            let alone = embedder.embed(&[(pair, Output::default())]).unwrap().remove(0).unwrap();
            for found in [alone, together.unwrap()] {
                let [logit] = found[..] else { panic!("{found:?} is not one number") };
                let what = format!("{arithmetic:?} {:?} {:?}: {logit}", case.query, case.document);
                assert!((logit - case.logit).abs() <= TOLERANCE, "{what}, wanted {}", case.logit);
                assert!((scoring.of(logit) - case.score).abs() <= TOLERANCE, "{what}, score");
            }
        }
    }
}

fn tokens(embedder: &Embedder, case: &Case) -> Tokens {
    let query = case.query.repeat(case.query_repeat.unwrap_or(1));
    let document = case.document.repeat(case.document_repeat.unwrap_or(1));
    embedder.tokenize_pair((&query, &document), embedder.limit(None)).unwrap()
}

#[test]
fn rerankers() {
    for model in super::RERANKERS {
        check(&files(model), &golden(model).cases);
    }
}

#[test]
fn a_reranker_that_takes_the_mean() {
    let cases = &golden("rerank-modernbert").classifier_pooling["mean"];
    let (cls, mean) = ("\"classifier_pooling\": \"cls\"", "\"classifier_pooling\": \"mean\"");
    let (files, _folder) = reconfigured("rerank-modernbert", cls, mean);
    check(&files, cases);
}
