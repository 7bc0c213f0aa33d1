//! Do narrower numbers stay close, and is a text's vector its own at every precision?

use std::sync::Arc;

use engine::{Arithmetic, Embedder, Isa, Output, Overflow, Processor, Prompt, Threads, Tokens};
use modelfiles::recipe::{Precision, Recipe};

use super::{at, files, golden};

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
            for model in [
                "bert-mean",
                "qwen3",
                "gemma",
                "modernbert",
                "mpnet",
                "deberta",
                "jina2-code",
                "nomic-moe",
            ] {
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
            for model in [
                "bert-mean",
                "distilbert",
                "xlm-roberta",
                "qwen3",
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
                "t5-gated",
                "qwen2",
                "llama",
                "mistral",
                "gemma",
                "eurobert",
            ] {
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

pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
