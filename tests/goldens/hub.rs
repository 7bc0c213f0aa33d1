//! Do forms that lie on the hub, and that no golden shows, mean what they mean there?

use std::fs;

use engine::{Embedder, Files, Output, Overflow, Processor, Prompt};
use modelfiles::recipe::{Recipe, Side};
use tempfile::TempDir;

use super::{check, files, golden};

/// Adds a file to a model, or replaces one.
pub(super) fn with(mut files: Files, name: &str, text: &str) -> (Files, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, text).unwrap();
    files.insert(name.to_owned(), path);
    (files, folder)
}

/// What Model2Vec saves can be opened by sentence-transformers too: its modules lie in the folder itself.
#[test]
fn potion_with_its_modules() {
    let modules = r#"[
        {"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"}
    ]"#;
    let (files, _folder) = with(files("model2vec"), "modules.json", modules);
    check(&files, &Recipe::default(), Prompt::Default, &golden("model2vec").cases);
}

/// The settings of Llama's and Qwen2's tokenizers add tokens that their files do not know of, but never twice; those of
/// other classes mean nothing.
#[test]
fn tokens_around_a_text_that_only_settings_name() {
    let file = fs::read_to_string(&files("mistral")["tokenizer.json"]).unwrap();
    let mut bare: serde_json::Value = serde_json::from_str(&file).unwrap();
    bare["post_processor"] = serde_json::Value::Null;
    for (tokenizer, class, adds) in [
        (bare.to_string(), "LlamaTokenizer", true),
        (bare.to_string(), "Qwen2TokenizerFast", true),
        (bare.to_string(), "TokenizersBackend", false),
        (file, "LlamaTokenizer", true),
    ] {
        let settings = serde_json::json!({
            "tokenizer_class": class, "add_bos_token": true, "add_eos_token": true,
            "bos_token": "<s>", "eos_token": { "content": "</s>" },
        });
        let (files, _one) = with(files("mistral"), "tokenizer.json", &tokenizer);
        let (files, _two) = with(files, "tokenizer_config.json", &settings.to_string());
        let embedder = Embedder::load(&files, &Recipe::default(), &Processor::default()).unwrap();
        let ids = embedder.tokenize("a", Prompt::Default, 60, Overflow::Refuse).unwrap().ids;
        let around = [ids.first() == Some(&1), ids.last() == Some(&2), ids.len() == 3];
        assert_eq!(around, [adds; 3], "{class}: {ids:?}");
    }
}

/// A text without a token has a vector as long as that of any other, whoever says how long that is.
#[test]
fn nothing_is_as_long_as_anything() {
    for (own, asked, length) in
        [(None, None, 24), (Some(8), None, 8), (Some(8), Some(12), 12), (None, Some(5), 5)]
    {
        let recipe = Recipe { dimensions: own, ..Recipe::default() };
        let embedder = Embedder::load(&files("model2vec"), &recipe, &Processor::default()).unwrap();
        let tokens = |text| embedder.tokenize(text, Prompt::Default, 60, Overflow::Refuse).unwrap();
        let (nothing, something) = (tokens(""), tokens("why is the sky blue?"));
        let output = Output { dimensions: asked, ..Output::default() };
        let vectors = embedder.embed(&[(&nothing, output), (&something, output)]).unwrap();
        let vectors: Vec<Vec<f32>> = vectors.into_iter().map(Option::unwrap).collect();
        assert_eq!([vectors[0].len(), vectors[1].len()], [length; 2], "{own:?} {asked:?}");
        assert!(vectors[0].iter().all(|x| *x == 0.0));
    }
}

#[test]
fn truncation_on_the_left() {
    let recipe = Recipe { truncation_side: Some(Side::Left), ..Recipe::default() };
    check(&files("bert-mean"), &recipe, Prompt::Default, &golden("bert-mean").truncation["left"]);
}

#[test]
fn query_and_document_prompts() {
    for model in ["bert-prompts", "bert-instruct", "gemma", "qwen3"] {
        let tasks = golden(model).tasks;
        check(&files(model), &Recipe::default(), Prompt::Query, &tasks["query"]);
        check(&files(model), &Recipe::default(), Prompt::Document, &tasks["document"]);
    }
}
