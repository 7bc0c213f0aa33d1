//! How does `tokenizer.json` become metadata of a GGUF file? As llama.cpp's converters write it.

use std::collections::BTreeMap;

use candle_core::quantized::gguf_file::Value;
use serde_json::Value as Json;

use super::convert::Target;

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Writes the tokens, their kinds and what stands around a text.
pub(crate) fn write(tokenizer: &Json, target: &mut Target) {
    let model = &tokenizer["model"];
    let mut tokens = tokens(tokenizer);
    let specials: Vec<u64> = tokenizer["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["id"].as_u64().unwrap())
        .collect();
    let byte = |text: &str| text.starts_with("<0x") && text.len() == 6;
    let kinds: Vec<i32> = tokens
        .iter()
        .enumerate()
        .map(|(id, (text, _))| match text.as_str() {
            "<unk>" => UNKNOWN,
            _ if specials.contains(&(id as u64)) => CONTROL,
            text if byte(text) && model["byte_fallback"] == true => BYTE,
            _ => NORMAL,
        })
        .collect();
    let name = match model["type"].as_str().unwrap_or("Unigram") {
        "WordPiece" => {
            phantom(&mut tokens, &kinds);
            "bert"
        }
        "Unigram" => "t5",
        _ if model["byte_fallback"] == true => {
            let first = tokenizer["normalizer"]["normalizers"][0]["type"].as_str();
            put(target, "add_space_prefix", Value::Bool(first == Some("Prepend")));
            "llama"
        }
        _ => {
            let merges = model["merges"].as_array().unwrap().iter().map(merge);
            put(target, "merges", Value::Array(merges.map(Value::String).collect()));
            "gpt2"
        }
    };
    put(target, "model", Value::String(name.to_owned()));
    let texts = tokens.iter().map(|(text, _)| Value::String(text.clone()));
    put(target, "tokens", Value::Array(texts.collect()));
    put(target, "token_type", Value::Array(kinds.into_iter().map(Value::I32).collect()));
    if matches!(name, "t5" | "llama") {
        let scores = tokens.iter().map(|(_, score)| Value::F32(*score));
        put(target, "scores", Value::Array(scores.collect()));
    }
    around(tokenizer, name, target);
}

/// Returns the tokens in the order of their ids with their scores: where there are merges, a token is as likely as the
/// first one that makes it is early.
fn tokens(tokenizer: &Json) -> Vec<(String, f32)> {
    let model = &tokenizer["model"];
    let mut found: BTreeMap<u64, (String, f32)> = BTreeMap::new();
    if let Some(list) = model["vocab"].as_array() {
        for (id, row) in list.iter().enumerate() {
            let (text, score) = (row[0].as_str().unwrap(), row[1].as_f64().unwrap());
            found.insert(id as u64, (text.to_owned(), score as f32));
        }
    }
    let mut ranks: BTreeMap<String, f32> = BTreeMap::new();
    for (rank, pair) in model["merges"].as_array().into_iter().flatten().enumerate() {
        ranks.entry(merge(pair).replacen(' ', "", 1)).or_insert(-(rank as f32));
    }
    for (text, id) in model["vocab"].as_object().into_iter().flatten() {
        let score = ranks.get(text).copied().unwrap_or(-1e6);
        found.insert(id.as_u64().unwrap(), (text.clone(), score));
    }
    for token in tokenizer["added_tokens"].as_array().unwrap() {
        let text = token["content"].as_str().unwrap().to_owned();
        found.insert(token["id"].as_u64().unwrap(), (text, 0.0));
    }
    assert_eq!(
        found.keys().copied().collect::<Vec<_>>(),
        (0..found.len() as u64).collect::<Vec<_>>()
    );
    found.into_values().collect()
}

/// Returns a pair of tokens as one text.
fn merge(pair: &Json) -> String {
    match pair {
        Json::String(text) => text.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    }
}

/// Marks the beginnings of words instead of what goes on within them.
fn phantom(tokens: &mut [(String, f32)], kinds: &[i32]) {
    for ((text, _), kind) in tokens.iter_mut().zip(kinds).filter(|(_, kind)| **kind != CONTROL) {
        assert_eq!(*kind, NORMAL);
        *text = match text.strip_prefix("##") {
            Some(rest) => rest.to_owned(),
            None => format!("▁{text}"),
        };
    }
}

/// Writes which tokens stand around a text, as the file of the tokenizer has it.
fn around(tokenizer: &Json, name: &str, target: &mut Target) {
    let id = |text: &str| {
        let all = tokenizer["added_tokens"].as_array().unwrap();
        let token = all.iter().find(|token| token["content"] == text);
        token.map(|token| token["id"].as_u64().unwrap() as u32)
    };
    for (key, texts) in [
        ("bos_token_id", &["<s>", "<bos>", "<|begin_of_text|>"][..]),
        ("cls_token_id", &["[CLS]"]),
        ("eos_token_id", &["</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>"]),
        ("seperator_token_id", &["[SEP]"]),
        ("padding_token_id", &["[PAD]", "<pad>"]),
        ("unknown_token_id", &["[UNK]", "<unk>"]),
        ("mask_token_id", &["[MASK]", "<mask>"]),
    ] {
        if let Some(id) = texts.iter().find_map(|text| id(text)) {
            put(target, key, Value::U32(id));
        }
    }
    if name == "bert" {
        return;
    }
    let post = tokenizer["post_processor"].to_string();
    let (before, after) = post.split_once("\"Sequence\":{\"id\":\"A\"").unwrap_or((&post, &post));
    let after = after.split("\"pair\"").next().unwrap();
    let roberta = post.contains("RobertaProcessing");
    let mentions = |part: &str| part.contains("SpecialToken");
    put(target, "add_bos_token", Value::Bool(roberta || mentions(before)));
    put(target, "add_eos_token", Value::Bool(roberta || mentions(after)));
}

fn put(target: &mut Target, key: &str, value: Value) {
    target.values.insert(format!("tokenizer.ggml.{key}"), value);
}
