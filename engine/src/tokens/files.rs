//! Which tokenizer does a repository have? `tokenizer.json`, or what transformers would build from older files.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use super::{
    around::{self, Around},
    byte_fallback,
    byte_pairs::{self, Words},
    charsmap, clip, error, gguf,
    piece::{self, Kind, Piece},
    sentencepiece::{self, Algorithm, Model},
    unigram::{self, Spaces},
    word_piece,
};
use crate::{Error, repository::Repository, settings::Settings};

/// Names of sentencepiece's files.
const MODELS: [&str; 4] =
    ["sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "spm.model"];
/// Tokens at the end of T5's vocabulary that its file of sentencepiece does not have.
const EXTRA_TOKENS: usize = 100;
/// More than any T5 has.
const MOST_EXTRA_TOKENS: usize = 1 << 12;
/// Keys of `tokenizer_config.json` that name tokens.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Reads `tokenizer.json`, or builds a tokenizer from the files that there are instead.
pub(super) fn read(repository: &Repository<'_>) -> Result<Tokenizer, Error> {
    if let Some(gguf) = &repository.gguf {
        return gguf::build(gguf);
    }
    if let Some(path) = repository.tokenizer_file("tokenizer.json") {
        return current(path).map_err(|problem| Error::file("tokenizer.json", problem));
    }
    if let (Some(_), Some(vocabulary), Some(merges)) = (
        &repository.towers,
        repository.tokenizer_file("vocab.json"),
        repository.tokenizer_file("merges.txt"),
    ) {
        return clip::build(vocabulary, merges).map_err(|e| Error::file("vocab.json", e));
    }
    let old = Old::open(repository)?;
    if let Some(bytes) = repository.tokenizer_bytes("vocab.txt")? {
        return old.word_piece(&bytes).map_err(|e| named("vocab.txt", e));
    }
    if let Some(bytes) = repository.tokenizer_bytes("vocab.json")? {
        return old.byte_pairs(&bytes).map_err(|e| named("vocab.json", e));
    }
    for name in MODELS {
        if let Some(bytes) = repository.tokenizer_bytes(name)? {
            let model = sentencepiece::read(&bytes).map_err(|e| Error::file(name, e))?;
            return old.model(&model).map_err(|e| named(name, e));
        }
    }
    Err(Error::file("tokenizer.json", "missing"))
}

/// Reads `tokenizer.json`; the library panics at some tables of characters that are damaged, and believes others.
fn current(path: &Path) -> Result<Tokenizer, String> {
    let read = std::panic::catch_unwind(|| Tokenizer::from_file(path));
    let read = read.map_err(|_panic| "a part of it is damaged")?;
    let tokenizer = read.map_err(|e| e.to_string())?;
    tokenizer.get_normalizer().map_or(Ok(()), charsmap::check_all)?;
    Ok(tokenizer)
}

/// Names the file that a tokenizer could not be built from.
fn named(file: &str, error: Error) -> Error {
    match error {
        Error::Tokenizer(problem) => Error::file(file, problem),
        other => other,
    }
}

/// The files of a repository from before `tokenizer.json`.
struct Old<'a> {
    repository: &'a Repository<'a>,
    /// `tokenizer_config.json`.
    settings: Settings,
}

impl<'a> Old<'a> {
    fn open(repository: &'a Repository<'a>) -> Result<Self, Error> {
        let name = "tokenizer_config.json";
        let bytes = repository.tokenizer_bytes(name)?.unwrap_or_else(|| b"{}".to_vec());
        Ok(Self { repository, settings: Settings::parse(name, &bytes)? })
    }

    /// Returns the class that transformers would load, without what tells the fast one from the other.
    fn class(&self) -> &str {
        let class = self.settings.text(&["tokenizer_class"]).unwrap_or_default();
        let class = class.trim_end_matches("Fast").trim_end_matches("Tokenizer");
        if !class.is_empty() {
            return class;
        }
        match self.repository.config.text(&["model_type"]).unwrap_or_default() {
            "roberta" => "Roberta",
            "qwen2" | "qwen3" => "Qwen2",
            "xlm-roberta" => "XLMRoberta",
            "camembert" => "Camembert",
            "t5" => "T5",
            "gemma3_text" => "Gemma",
            "llama" | "mistral" => "Llama",
            _ => "",
        }
    }

    fn word_piece(&self, vocabulary: &[u8]) -> Result<Tokenizer, Error> {
        let text = std::str::from_utf8(vocabulary).map_err(|e| Error::file("vocab.txt", e))?;
        let tokens = text.lines().map(|line| line.trim_end().to_owned()).zip(0..);
        let mut tokenizer = word_piece::build(tokens, "[UNK]", self.repository.cased)?;
        let id = |token: &str| {
            let id = tokenizer.token_to_id(token);
            id.ok_or_else(|| Error::Tokenizer(format!("no {token}"))).map(Some)
        };
        let (before, after) = (id("[CLS]")?, id("[SEP]")?);
        let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
        let specials = specials.into_iter().filter(|token| tokenizer.token_to_id(token).is_some());
        let specials: Vec<Piece> = specials.map(Piece::control).collect();
        piece::know(&mut tokenizer, &specials, None)?;
        around::put(&mut tokenizer, Around { before, after, between: 1, second: 1 })?;
        Ok(tokenizer)
    }

    fn byte_pairs(&self, vocabulary: &[u8]) -> Result<Tokenizer, Error> {
        let file = "merges.txt";
        let merges = self.repository.tokenizer_bytes(file)?;
        let merges = merges.ok_or_else(|| Error::file(file, "missing"))?;
        let merges = std::str::from_utf8(&merges).map_err(|e| Error::file(file, e))?;
        let lines = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
        let pair = |line: &str| {
            line.split_once(' ').map(|(left, right)| (left.to_owned(), right.trim_end().to_owned()))
        };
        let merges = lines.map(pair).collect::<Option<Vec<_>>>();
        let merges = merges.ok_or_else(|| Error::file(file, "a merge is no pair of tokens"))?;
        let vocabulary: HashMap<String, u32> =
            serde_json::from_slice(vocabulary).map_err(|e| Error::file("vocab.json", e))?;
        let words = match self.class() {
            "Qwen2" => Words::Qwen,
            "Roberta" | "GPT2" | "Longformer" | "Bart" => Words::Gpt2,
            other => {
                return Err(Error::Unsupported(format!(
                    "'{other}' without tokenizer.json cannot run in this version"
                )));
            }
        };
        let prefix = self.settings.flag(&["add_prefix_space"]);
        let vocabulary = vocabulary.into_iter().collect();
        let mut tokenizer = byte_pairs::build(vocabulary, merges, words, prefix)?;
        self.add(&mut tokenizer)?;
        if words == Words::Gpt2 && self.class() != "GPT2" {
            let id = |key: &str, default: &str| {
                tokenizer.token_to_id(&self.token(key).unwrap_or_else(|| default.to_owned()))
            };
            let (before, after) = (id("cls_token", "<s>"), id("sep_token", "</s>"));
            around::put(&mut tokenizer, Around { before, after, between: 2, second: 0 })?;
        }
        Ok(tokenizer)
    }

    /// Builds from a model of sentencepiece, whose ids are not always those of the encoder.
    fn model(&self, model: &Model) -> Result<Tokenizer, Error> {
        let class = self.class();
        let pieces = self.aligned(class, model)?;
        let mut tokenizer = match model.algorithm {
            Algorithm::Unigram => {
                let unknown = pieces.iter().position(|piece| piece.kind == Kind::Unknown);
                let spaces = Spaces { prefix: model.prefix, single: model.single_spaces };
                unigram::build(&pieces, unknown.unwrap_or(0), Some(&model.charsmap), &spaces)?
            }
            Algorithm::Pairs => byte_fallback::build(&pieces, Some(model.unknown), model.prefix)?,
        };
        piece::know(&mut tokenizer, &pieces, Some("<mask>"))?;
        self.add(&mut tokenizer)?;
        let id = |token: &str| tokenizer.token_to_id(token);
        let ends = match class {
            "XLMRoberta" | "Camembert" => {
                Around { before: id("<s>"), after: id("</s>"), between: 2, second: 0 }
            }
            "T5" => Around { after: id("</s>"), between: 1, ..Around::default() },
            _ => {
                let end = |switch: &str, default: bool, name: &str, text: &str| {
                    let added = self.settings.get(&[switch]).and_then(Value::as_bool);
                    let token = self.token(name).unwrap_or_else(|| text.to_owned());
                    added.unwrap_or(default).then(|| id(&token)).flatten()
                };
                let names = if class == "Gemma" { ["<bos>", "<eos>"] } else { ["<s>", "</s>"] };
                let before = end("add_bos_token", true, "bos_token", names[0]);
                let after = end("add_eos_token", false, "eos_token", names[1]);
                Around { before, after, between: 1, second: 0 }
            }
        };
        around::put(&mut tokenizer, ends)?;
        Ok(tokenizer)
    }

    /// Returns the pieces in the order of the encoder's ids, as the classes of transformers have it.
    fn aligned(&self, class: &str, model: &Model) -> Result<Vec<Piece>, Error> {
        let unknown = Piece { kind: Kind::Unknown, ..Piece::control("<unk>") };
        let first = |names: [&str; 3]| names.map(Piece::control).to_vec();
        let rest = |from: usize| model.pieces.get(from..).unwrap_or_default().to_vec();
        let mask = vec![Piece::control("<mask>")];
        Ok(match class {
            "XLMRoberta" => {
                [first(["<s>", "<pad>", "</s>"]), vec![unknown], rest(3), mask].concat()
            }
            "Camembert" => {
                let start = first(["<s>NOTUSED", "<pad>", "</s>NOTUSED"]);
                let unused = Piece { score: -100.0, ..Piece::control("<unk>NOTUSED") };
                [start, vec![unknown, unused], rest(1), mask].concat()
            }
            "T5" => {
                let count =
                    self.settings.size_or(&["extra_ids"], EXTRA_TOKENS, MOST_EXTRA_TOKENS)?;
                let extra = |i: usize| Piece::control(&format!("<extra_id_{i}>"));
                [rest(0), (0..count).rev().map(extra).collect()].concat()
            }
            "Gemma" | "Llama" | "CodeLlama" => rest(0),
            other => {
                return Err(Error::Unsupported(format!(
                    "'{other}' without tokenizer.json cannot run in this version"
                )));
            }
        })
    }

    /// Returns the text of a token that the settings name.
    fn token(&self, key: &str) -> Option<String> {
        let token = self.settings.get(&[key])?;
        token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
    }

    /// Adds the tokens that the settings list, at the ids that they say, and makes those special that they name.
    fn add(&self, tokenizer: &mut Tokenizer) -> Result<(), Error> {
        let listed = self.settings.get(&["added_tokens_decoder"]).and_then(Value::as_object);
        let listed = listed.into_iter().flatten();
        let listed = listed.filter_map(|(id, token)| Some((id.parse::<u32>().ok()?, token)));
        let mut tokens: BTreeMap<u32, AddedToken> =
            listed.filter_map(|(id, token)| Some((id, added(token)?))).collect();
        for key in NAMES {
            let Some(text) = self.token(key) else { continue };
            let Some(id) = tokenizer.token_to_id(&text) else { continue };
            // Where nothing is listed, only a mask takes the blank before it.
            let token = AddedToken::from(text, true).lstrip(key == "mask_token");
            tokens.entry(id).or_insert(token);
        }
        for (id, token) in tokens {
            let text = token.content.clone();
            tokenizer.add_tokens([token]).map_err(error)?;
            if tokenizer.token_to_id(&text) != Some(id) {
                return Err(Error::file(
                    "tokenizer_config.json",
                    format!("token '{text}' cannot have the id {id}"),
                ));
            }
        }
        Ok(())
    }
}

/// Reads an added token.
fn added(token: &Value) -> Option<AddedToken> {
    let flag = |key: &str| token.get(key).and_then(Value::as_bool).unwrap_or_default();
    let text = token.get("content")?.as_str()?;
    let token = AddedToken::from(text, flag("special")).normalized(flag("normalized"));
    Some(token.single_word(flag("single_word")).lstrip(flag("lstrip")).rstrip(flag("rstrip")))
}
