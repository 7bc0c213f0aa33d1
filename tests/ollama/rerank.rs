//! Does `/api/rerank` sort documents as a reranker scores them, and refuse what it cannot do in plain words?

use serde_json::{Value, json};

use super::ask::{fails, make, ok, tiny};
use crate::support::{Daemon, checkout};

const MODELS: [&str; 6] = [
    "rerank-bert",
    "rerank-ms-marco",
    "rerank-xlm-roberta",
    "rerank-modernbert",
    "rerank-deberta",
    "rerank-qwen3",
];

/// Returns the golden pairs of one query: documents, numbers and scores of sentence-transformers.
fn golden(model: &str) -> (String, Vec<(String, f64, f64)>) {
    let path = checkout(&format!("tests/goldens/models/{model}.json"));
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    let plain =
        |case: &&Value| case.get("query_repeat").is_none() && case.get("document_repeat").is_none();
    let query = cases.iter().find(plain).unwrap()["query"].as_str().unwrap().to_owned();
    let same = |case: &&Value| plain(case) && case["query"] == query.as_str();
    let pair = |case: &Value| {
        let number = |key: &str| case[key].as_f64().unwrap();
        (case["document"].as_str().unwrap().to_owned(), number("logit"), number("score"))
    };
    (query.clone(), cases.iter().filter(same).map(pair).collect())
}

fn results(answer: &Value) -> Vec<(usize, f64)> {
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let one = |result: &Value| {
        let index = usize::try_from(result["index"].as_u64().unwrap()).unwrap();
        (index, result["relevance_score"].as_f64().unwrap())
    };
    results.iter().map(one).collect()
}

#[test]
fn scores_are_those_of_sentence_transformers() {
    let daemon = Daemon::start(&[]);
    for model in MODELS {
        let mut parameters = json!({ "precision": "f32" });
        if model == "rerank-qwen3" {
            parameters["rerank"] = json!("yes_no");
        }
        make(&daemon, model, model, &parameters);
        let (query, pairs) = golden(model);
        let documents: Vec<&str> = pairs.iter().map(|pair| pair.0.as_str()).collect();
        let mut asked = json!({ "model": model, "query": query, "documents": documents });
        let answer = ok(&daemon, "/api/rerank", &asked);
        let found = results(&answer);
        assert_eq!(found.len(), pairs.len());
        assert!(found.is_sorted_by(|a, b| a.1 >= b.1), "{model}: {found:?}");
        for (index, score) in &found {
            assert!((score - pairs[*index].2).abs() < 2e-5, "{model} {index}: {score}");
        }
        let inputs = answer["inputs"].as_array().unwrap();
        assert!(
            inputs.len() == pairs.len() && inputs.iter().all(|input| input["truncated"] == false)
        );
        let tokens: u64 = inputs.iter().map(|input| input["tokens"].as_u64().unwrap()).sum();
        assert_eq!(answer["prompt_eval_count"], tokens);
        asked["raw_scores"] = json!(true);
        for (index, number) in results(&ok(&daemon, "/api/rerank", &asked)) {
            assert!((number - pairs[index].1).abs() < 2e-5, "{model} {index}: {number}");
        }
    }
}

#[test]
fn only_the_best_and_with_their_texts() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "judge", "rerank-bert", &Value::Null);
    let documents = ["the sky is blue", "grass", "why not"];
    let asked = json!({
        "model": "judge", "query": "sky", "documents": documents, "top_n": 2, "return_documents": true,
    });
    let answer = ok(&daemon, "/api/rerank", &asked);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        let index = usize::try_from(result["index"].as_u64().unwrap()).unwrap();
        assert_eq!(result["document"], documents[index]);
    }
    let none = json!({ "model": "judge", "query": "sky", "documents": [] });
    assert_eq!(ok(&daemon, "/api/rerank", &none)["results"], json!([]));
    assert_eq!(
        ok(&daemon, "/api/show", &json!({ "model": "judge" }))["capabilities"],
        json!(["reranking"])
    );
}

#[test]
fn an_instruction_changes_scores() {
    let daemon = Daemon::start(&[]);
    make(&daemon, "judge", "rerank-qwen3", &json!({ "rerank": "yes_no", "precision": "f32" }));
    let told = json!({ "rerank": "yes_no", "precision": "f32", "prompt": "Find what contradicts" });
    make(&daemon, "told", "rerank-qwen3", &told);
    let score = |model: &str, instruction: Value| {
        let asked = json!({
            "model": model, "query": "sky", "documents": ["grass"], "instruction": instruction,
        });
        results(&ok(&daemon, "/api/rerank", &asked))[0].1
    };
    let other = score("judge", json!("Find what contradicts"));
    assert!((other - score("judge", Value::Null)).abs() > 1e-4);
    assert!((other - score("told", Value::Null)).abs() < 1e-6);
    make(&daemon, "classifier", "rerank-bert", &Value::Null);
    let asked = json!({
        "model": "classifier", "query": "sky", "documents": ["grass"], "instruction": "find it",
    });
    let words = "\"classifier:latest\" does not support an instruction";
    fails(&daemon, "/api/rerank", &asked, 400, words);
}

#[test]
fn what_cannot_be_ranked_is_said() {
    let daemon = tiny(&[]);
    make(&daemon, "judge", "rerank-bert", &Value::Null);
    let asked = |model: &str| json!({ "model": model, "query": "x", "documents": ["y"] });
    fails(
        &daemon,
        "/api/rerank",
        &asked("tiny"),
        400,
        "\"tiny:latest\" does not support reranking",
    );
    let embed = json!({ "model": "judge", "input": "x" });
    let words = "\"judge:latest\" does not support embeddings; it is a reranker";
    fails(&daemon, "/api/embed", &embed, 400, words);
    for (body, words) in [
        (json!({ "model": "judge", "documents": ["y"] }), "query is required"),
        (json!({ "model": "judge", "query": "x" }), "documents is required"),
        (
            json!({ "model": "judge", "query": "x", "documents": ["y"], "top_n": 0 }),
            "top_n must be at least 1",
        ),
    ] {
        fails(&daemon, "/api/rerank", &body, 400, words);
    }
}
