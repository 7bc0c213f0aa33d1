//! Do texts of several tasks, each with small matrices of its own, get the vectors of weights that were added up?

use engine::{Arithmetic, Embedder, Isa, Output, Overflow, Processor, Prompt, Tokens};
use modelfiles::recipe::{Precision, Recipe};

use super::{Case, at, compare, files, golden, load, precisions::cosine, reconfigured};

const MODEL: &str = "jina3-hub";

/// Returns every case of every task, and those of none.
fn cases() -> Vec<(Option<String>, Case)> {
    let golden = golden(MODEL);
    let of_task = |(task, cases): (String, Vec<Case>)| {
        cases.into_iter().map(move |case| (Some(task.clone()), case))
    };
    let cases = golden.adapters.into_iter().flat_map(of_task);
    cases.chain(golden.cases.into_iter().map(|case| (None, case))).collect()
}

fn tokens(embedder: &Embedder, task: Option<&str>, case: &Case) -> Tokens {
    let limit = embedder.limit(None);
    let tokens =
        embedder.tokenize(&case.text(), Prompt::Default, limit, Overflow::Truncate).unwrap();
    assert_eq!(tokens.ids, case.ids, "ids of {:?}", case.text);
    match task {
        Some(task) => tokens.for_task(embedder.task(task).unwrap()),
        None => tokens,
    }
}

/// Embeds the texts of all tasks at once, and each alone.
#[test]
fn texts_of_all_tasks_in_one_batch() {
    let cases = cases();
    assert_eq!(cases.len(), 40);
    for arithmetic in Arithmetic::all() {
        let processor = Processor { arithmetic, ..Processor::default() };
        let recipe = at(&Recipe::default(), Precision::F32);
        let embedder = Embedder::load(&files(MODEL), &recipe, &processor).unwrap();
        let found = embed(&embedder, &cases);
        for ((task, case), vector) in cases.iter().zip(found) {
            compare(&case.vector(), &vector, &format!("{arithmetic:?} {task:?} {:?}", case.text));
        }
    }
}

/// Returns the vectors of cases, which are the same bit for bit in a batch and alone where kernels compute them.
fn embed(embedder: &Embedder, cases: &[(Option<String>, Case)]) -> Vec<Vec<f32>> {
    let tokens = cases.iter().map(|(task, case)| tokens(embedder, task.as_deref(), case));
    let tokens: Vec<Tokens> = tokens.collect();
    let texts: Vec<_> = tokens.iter().map(|tokens| (tokens, Output::default())).collect();
    let together = embedder.embed(&texts).unwrap();
    let alone = texts.iter().map(|text| embedder.embed(&[*text]).unwrap().remove(0).unwrap());
    for (alone, together) in alone.zip(&together) {
        assert_eq!(Some(alone), *together);
    }
    together.into_iter().map(Option::unwrap).collect()
}

#[test]
fn narrower_numbers_stay_close_for_every_task() {
    let cases = cases();
    for isa in Isa::all() {
        let processor = Processor { arithmetic: Arithmetic::Kernels(isa), ..Processor::default() };
        for (precision, least) in [(Precision::Bf16, 0.9995), (Precision::Int8, 0.99)] {
            let recipe = at(&Recipe::default(), precision);
            let embedder = Embedder::load(&files(MODEL), &recipe, &processor).unwrap();
            for ((task, case), vector) in cases.iter().zip(embed(&embedder, &cases)) {
                let cosine = cosine(&case.vector(), &vector);
                let what = format!("{isa:?} {precision} {task:?} {:?}", case.text);
                assert!(cosine >= least, "{what}: {cosine}");
            }
        }
    }
}

#[test]
fn tasks_have_names_and_prompts() {
    let (prompt, told) = ("\"retrieval.query\": \"\"", "\"retrieval.query\": \"Find: \"");
    let (files, _folder) = reconfigured(MODEL, prompt, told);
    let embedder = load(&files, &Recipe::default()).unwrap();
    let tasks = ["retrieval.query", "retrieval.passage", "text-matching"];
    assert_eq!(embedder.description().tasks, tasks);
    assert_eq!(embedder.task("retrieval.query").unwrap().prompt, "Find: ");
    assert_eq!(embedder.task("text-matching").unwrap().prompt, "");
    assert_eq!(embedder.task("clustering"), None);
    for (from, to) in [
        ("\"lora_rank\": 2", "\"lora_rank\": 3"),
        ("\"lora_rank\": 2", "\"lora_rank\": 0"),
        ("\"lora_adaptations\"", "\"adaptations\""),
        ("\"use_reg_tokens\": false", "\"use_reg_tokens\": true"),
    ] {
        let (files, _folder) = reconfigured(MODEL, from, to);
        assert!(load(&files, &Recipe::default()).is_err(), "{to}");
    }
}
