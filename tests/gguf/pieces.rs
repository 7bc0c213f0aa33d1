//! Are files of sentencepiece, and GGUF files that the gguf package wrote, read as those packages mean them?

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use candle_core::{
    Device,
    quantized::gguf_file::{Content, Value, write},
};
use engine::{Embedder, Files, Overflow, Processor, Prompt};
use modelfiles::recipe::Recipe;

use super::{Case, Golden, check, files, golden};

/// Returns a file of `goldens/tokenizers`.
fn tokenizers(name: &str) -> PathBuf {
    PathBuf::from(golden("tokenizers")).join(name)
}

fn as_repository(name: &str) -> Files {
    BTreeMap::from([("model.gguf".to_owned(), tokenizers(name))])
}

/// Compares the ids of a repository with those of sentencepiece for a class of transformers.
fn check_ids(files: &Files, class: &str) {
    let cases: BTreeMap<String, Vec<serde_json::Value>> =
        serde_json::from_slice(&fs::read(tokenizers("cases.json")).unwrap()).unwrap();
    let embedder = Embedder::load(files, &Recipe::default(), &Processor::default()).unwrap();
    assert!(cases[class].len() > 9);
    for case in &cases[class] {
        let want: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let text = case["text"].as_str().unwrap();
        let limit = embedder.limit(Some(1 << 20));
        let got = embedder.tokenize(text, Prompt::Default, limit, Overflow::Truncate).unwrap().ids;
        if want.len() <= limit {
            assert_eq!(got, want, "{class} {text:?}");
            // These know every text, and change none.
            if matches!(class, "gemma" | "llama") {
                assert_eq!(embedder.detokenize(&got, false).unwrap(), text, "{class}");
            }
        } else {
            assert_eq!(got[..limit - 1], want[..limit - 1], "{class} {text:?}");
        }
    }
}

/// Returns a golden whose tokenizer is a file of sentencepiece, with these settings.
fn with_model(model: &str, name: &str, file: &str, settings: &str) -> (Files, tempfile::TempDir) {
    let mut files = files(model);
    files.remove("tokenizer.json").unwrap();
    files.insert(name.to_owned(), tokenizers(file));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings");
    fs::write(&path, settings).unwrap();
    files.insert("tokenizer_config.json".to_owned(), path);
    (files, folder)
}

#[test]
fn models_of_sentencepiece() {
    let ends = r#"{"tokenizer_class": "GemmaTokenizer", "add_eos_token": true,
        "bos_token": "<s>", "eos_token": {"content": "</s>"}}"#;
    for (model, class, name, file, settings) in [
        ("xlm-roberta", "xlm-roberta", "sentencepiece.bpe.model", "unigram.model", "{}"),
        ("camembert", "camembert", "sentencepiece.bpe.model", "unigram.model", "{}"),
        ("t5", "t5", "spiece.model", "unigram.model", r#"{"extra_ids": 10}"#),
        ("gemma", "gemma", "tokenizer.model", "pairs.model", ends),
        ("mistral", "llama", "tokenizer.model", "pairs-prefix.model", "{}"),
    ] {
        let (files, _folder) = with_model(model, name, file, settings);
        check_ids(&files, class);
    }
}

#[test]
fn what_no_class_numbers_is_refused() {
    let settings = r#"{"tokenizer_class": "RemBertTokenizer"}"#;
    let (files, _folder) =
        with_model("xlm-roberta", "sentencepiece.bpe.model", "unigram.model", settings);
    let error = Embedder::load(&files, &Recipe::default(), &Processor::default()).err().unwrap();
    assert_eq!(error.to_string(), "'RemBert' without tokenizer.json cannot run in this version");
}

/// The ids of sentencepiece and the vectors of transformers, from blocks that the gguf package packed.
#[test]
fn a_file_of_the_gguf_package() {
    let golden = fs::read(tokenizers("xlm-roberta.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice::<Golden>(&golden).unwrap().cases;
    let (worst, _) = check(&as_repository("xlm-roberta.gguf"), &cases);
    assert!(worst <= super::TOLERANCE, "{worst:e}");
    check_ids(&as_repository("xlm-roberta.gguf"), "xlm-roberta");
    check_ids(&as_repository("gemma.gguf"), "gemma");
    let about = engine::describe(
        &as_repository("xlm-roberta.gguf"),
        &Recipe::default(),
        &Processor::default(),
    );
    let about = about.unwrap();
    assert_eq!((about.stored_as.as_str(), about.plan.architecture.as_str()), ("Q8_0", "bert"));
}

/// Ollama has written the table of characters as letters of its base64 form, one text each.
#[test]
fn a_table_of_characters_in_letters() {
    let mut file = File::open(tokenizers("xlm-roberta.gguf")).unwrap();
    let mut content = Content::read(&mut file).unwrap();
    let key = "tokenizer.ggml.precompiled_charsmap";
    let bytes: Vec<u8> = match &content.metadata[key] {
        Value::Array(bytes) => bytes
            .iter()
            .map(|byte| byte.to_i8().map(i8::cast_unsigned).or_else(|_| byte.to_u8()).unwrap())
            .collect(),
        other => panic!("{other:?}"),
    };
    let letters = STANDARD.encode(bytes);
    let letters = letters.chars().map(|letter| Value::String(letter.to_string()));
    content.metadata.insert(key.to_owned(), Value::Array(letters.collect()));
    let tensors: Vec<_> = content
        .tensor_infos
        .keys()
        .map(|name| (name, content.tensor(&mut file, name, &Device::Cpu).unwrap()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let values: Vec<_> =
        content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write(&mut File::create(&path).unwrap(), &values, &tensors).unwrap();
    check_ids(&BTreeMap::from([("x.GGUF".to_owned(), path)]), "xlm-roberta");
}

/// Files from before `tokenizer.json` give its ids.
#[test]
fn vocab_and_merges() {
    for (model, class) in
        [("roberta", "RobertaTokenizer"), ("qwen3", "Qwen2Tokenizer"), ("qwen2", "")]
    {
        let mut files = files(model);
        let tokenizer: serde_json::Value =
            serde_json::from_slice(&fs::read(files.remove("tokenizer.json").unwrap()).unwrap())
                .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut put = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            files.insert(name.to_owned(), path);
        };
        put("vocab.json", tokenizer["model"]["vocab"].to_string());
        let pair = |pair: &serde_json::Value| match pair.as_str() {
            Some(text) => text.to_owned(),
            None => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        };
        let merges = tokenizer["model"]["merges"].as_array().unwrap().iter().map(pair);
        let merges: Vec<String> = ["#version: 0.2".to_owned()].into_iter().chain(merges).collect();
        put("merges.txt", merges.join("\n"));
        let added = tokenizer["added_tokens"].as_array().unwrap();
        let added = added.iter().map(|token| (token["id"].to_string(), token.clone()));
        let added: serde_json::Map<String, serde_json::Value> = added.collect();
        let mut settings = serde_json::json!({
            "added_tokens_decoder": added, "tokenizer_class": class,
            "add_eos_token": class != "RobertaTokenizer", "eos_token": "<|endoftext|>",
        });
        if class.is_empty() {
            settings["tokenizer_class"] = "Qwen2TokenizerFast".into();
        } else if class == "RobertaTokenizer" {
            settings["eos_token"] = "</s>".into();
        }
        put("tokenizer_config.json", settings.to_string());
        let (worst, _) = check(&files, &super::cases(model));
        assert!(worst <= super::TOLERANCE, "{model}: {worst:e}");
    }
}
