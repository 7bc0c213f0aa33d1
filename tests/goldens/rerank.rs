//! Do rerankers give the numbers and scores of sentence-transformers' CrossEncoder?

use engine::{Arithmetic, Embedder, Output, Processor, Tokens};
use modelfiles::recipe::{Precision, Recipe, Rerank};
use serde::Deserialize;

use super::{at, files, hub::with, reconfigured};

/// A number that comes out of random weights is of the order of 1; both sides sum in f32, in different orders.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    #[serde(default)]
    instruction: String,
    #[serde(default)]
    yes: u32,
    #[serde(default)]
    no: u32,
    #[serde(default)]
    before: String,
    #[serde(default)]
    behind: String,
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
fn check(files: &engine::Files, recipe: &Recipe, cases: &[Case]) {
    for arithmetic in Arithmetic::all() {
        let processor = Processor { arithmetic, ..Processor::default() };
        let recipe = at(recipe, Precision::F32);
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
    let query = embedder.tokenize_query(&query, None, embedder.limit(None)).unwrap();
    embedder.tokenize_pair(&query, &document).unwrap()
}

#[test]
fn rerankers() {
    for model in super::RERANKERS {
        check(&files(model), &recipe(model), &golden(model).cases);
    }
}

/// Returns what a model's own files do not say.
fn recipe(model: &str) -> Recipe {
    let rerank = (model == "rerank-qwen3").then_some(Rerank::YesNo);
    Recipe { rerank, ..Recipe::default() }
}

#[test]
fn a_reranker_that_takes_the_mean() {
    let cases = &golden("rerank-modernbert").classifier_pooling["mean"];
    let (cls, mean) = ("\"classifier_pooling\": \"cls\"", "\"classifier_pooling\": \"mean\"");
    let (files, _folder) = reconfigured("rerank-modernbert", cls, mean);
    check(&files, &Recipe::default(), cases);
}

/// A language model as sentence-transformers 6 saves it: modules name the answers, and a template the words.
#[test]
fn a_language_model_with_its_modules() {
    let golden = golden("rerank-qwen3");
    let modules = r#"[
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_LogitScore",
         "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}
    ]"#;
    let (yes, no) = (golden.yes, golden.no);
    let answers = format!(r#"{{"true_token_id": {yes}, "false_token_id": {no}}}"#);
    let template = format!(
        "{}<Instruct>: {{{{ instruction }}}}\n<Query>: {{{{ query }}}}\n<Document>: {{{{ document }}}}{}",
        golden.before, golden.behind
    );
    let told = r#"{"prompts": {"web": "find it"}, "model_type": "CrossEncoder"}"#;
    let (files, _one) = with(files("rerank-qwen3"), "modules.json", modules);
    let (files, _two) = with(files, "1_LogitScore/config.json", &answers);
    let (files, _three) = with(files, "config_sentence_transformers.json", told);
    let (files, _four) = with(files, "chat_template.jinja", &template);
    check(&files, &Recipe::default(), &golden.cases);
    let other = template.replace("Judge whether", "Say if");
    let (files, _five) = with(files, "chat_template.jinja", &other);
    let error = engine::describe(&files, &Recipe::default(), &Processor::default()).unwrap_err();
    let words = "a chat template other than Qwen3-Reranker's cannot run in this version";
    assert_eq!(error.to_string(), words);
}

#[test]
fn an_instruction_is_that_of_the_request_or_of_the_recipe() {
    let golden = golden("rerank-qwen3");
    let load = |prompt: Option<&str>| {
        let recipe = Recipe { prompt: prompt.map(str::to_owned), ..recipe("rerank-qwen3") };
        Embedder::load(&files("rerank-qwen3"), &recipe, &Processor::default()).unwrap()
    };
    let (plain, told) = (load(None), load(Some("find it")));
    assert_eq!(plain.description().instruction.as_deref(), Some(golden.instruction.as_str()));
    let ids = |embedder: &Embedder, instruction: Option<&str>| {
        let query = embedder.tokenize_query("why?", instruction, 512).unwrap();
        embedder.tokenize_pair(&query, "because").unwrap().ids
    };
    assert_eq!(ids(&told, None), ids(&plain, Some("find it")));
    assert_eq!(ids(&told, Some(&golden.instruction)), ids(&plain, None));
    assert_ne!(ids(&told, None), ids(&plain, None));
    let bert = Embedder::load(&files("rerank-bert"), &Recipe::default(), &Processor::default());
    let refused = bert.unwrap().tokenize_query("why?", Some("find it"), 64);
    assert!(refused.is_err(), "a classifier is told nothing");
}

/// Whatever is too long, what the model is to say stays at the end.
#[test]
fn a_question_is_cut_before_its_end() {
    let embedder =
        Embedder::load(&files("rerank-qwen3"), &recipe("rerank-qwen3"), &Processor::default());
    let embedder = embedder.unwrap();
    let ids = |query: &str, document: &str, limit: usize| {
        let query = embedder.tokenize_query(query, None, limit)?;
        embedder.tokenize_pair(&query, document)
    };
    let whole = ids("why?", "", 512).unwrap();
    let short = whole.ids.len();
    assert!(!whole.truncated);
    for (query, document) in [("why?", "because "), ("why? ", "because")] {
        let cut = ids(&query.repeat(50), &document.repeat(300_000), short + 5).unwrap();
        assert!(cut.truncated && cut.ids.len() == short + 5);
        assert_eq!(cut.ids[short - 10 + 5..], whole.ids[short - 10..]);
    }
    assert_eq!(ids("why?", "", 10).unwrap_err().to_string(), engine::Error::NoRoom.to_string());
}
