//! Which files of a repository make the model? An allow list, and one flavour of weights per folder.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::manifest::FILES_LIMIT;
use crate::store::is_inside;

/// Files that are taken wherever a module lies.
const PLAIN: &[&str] = &[
    "config.json",
    "modules.json",
    "config_sentence_transformers.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "router_config.json",
    "idf.json",
];
/// Files that are taken at the top only.
const TOP: &[&str] = &["README.md", "sparse_linear.pt", "colbert_linear.pt"];
/// Vocabularies that are taken where there is no `tokenizer.json`.
const VOCABULARIES: &[&str] = &["vocab.txt", "vocab.json", "merges.txt"];
/// Flavours of weights, the best first; an index stands for the files that it lists.
const WEIGHTS: &[&str] = &[
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
/// How the names of models in one file end.
pub(crate) const GGUF_ENDING: &str = ".gguf";
/// Precisions of GGUF files in the order of preference: vectors that are right come before files that are small.
const QUANTS: &[&str] = &["Q8_0", "F16", "BF16", "F32"];
/// The longest file that decides which others are needed; the index of a large model has about 100 kB.
pub(super) const GUIDE_LIMIT_BYTES: u64 = 8 << 20;

/// The files that make a model.
pub(super) struct Chosen {
    /// Their paths in the repository, sorted.
    pub(super) paths: Vec<String>,
    /// The content of those that had to be read for the choice.
    pub(super) guides: BTreeMap<String, Vec<u8>>,
}

/// Chooses the files that make the model; `read` returns the content of one of the paths.
pub(super) async fn choose_files<F>(
    paths: &BTreeSet<String>,
    read: impl Fn(String) -> F,
) -> Result<Chosen>
where
    F: Future<Output = Result<Vec<u8>>>,
{
    let mut contents = BTreeMap::new();
    for path in guides(paths) {
        let bytes = read(path.clone()).await?;
        contents.insert(path, bytes);
    }
    Ok(Chosen { paths: choose(paths, &contents)?, guides: contents })
}

/// Tells whether a tag names a precision of GGUF files, such as `Q4_K_M`, rather than a revision.
pub(super) fn is_quant(tag: &str) -> bool {
    let tag = tag.to_ascii_uppercase();
    let is_digit = |c: char| c.is_ascii_digit();
    let rest = tag.strip_prefix("IQ").or(tag.strip_prefix("TQ")).or(tag.strip_prefix('Q'));
    ["F16", "FP16", "BF16", "F32", "FP32", "MXFP4"].contains(&tag.as_str())
        || rest.is_some_and(|rest| {
            rest.starts_with(is_digit)
                && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
}

/// Chooses a model in one GGUF file: of the precision that is asked for, else of the best one.
pub(super) fn choose_gguf(paths: &BTreeSet<String>, quant: Option<&str>) -> Result<String> {
    let is_model = |path: &&String| {
        let name = split(path).1.to_ascii_lowercase();
        name.ends_with(GGUF_ENDING)
            && !name.contains("mmproj")
            && !name.contains("-of-0")
            && is_inside(path)
    };
    let models: Vec<&String> = paths.iter().filter(is_model).collect();
    let of = |quant: &str| models.iter().find(|path| quant_of(path).as_deref() == Some(quant));
    if let Some(quant) = quant {
        let quant = quant.to_ascii_uppercase().replace("FP", "F");
        return of(&quant).map(|path| (*path).clone()).ok_or_else(|| {
            let has: BTreeSet<String> = models.iter().filter_map(|path| quant_of(path)).collect();
            let has: Vec<String> = has.into_iter().collect();
            let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
            Error::NotOffered(format!("the repository has no GGUF file of {quant}; it has {has}"))
        });
    }
    let best = QUANTS.iter().find_map(|quant| of(quant)).or_else(|| models.first());
    best.map(|path| (*path).clone()).ok_or_else(|| {
        Error::Unusable("the repository has no GGUF file of a whole model".to_owned())
    })
}

/// Returns the precision that a file's name ends with.
fn quant_of(path: &str) -> Option<String> {
    let name = split(path).1;
    let stem = name.get(..name.len() - GGUF_ENDING.len())?.to_ascii_uppercase();
    let starts = stem.match_indices(['-', '.', '_']).map(|(at, _)| &stem[at + 1..]);
    let found = [stem.as_str()].into_iter().chain(starts).find(|end| is_quant(end))?;
    Some(found.replace("FP", "F"))
}

/// Returns the files whose content decides which others are needed.
fn guides(paths: &BTreeSet<String>) -> Vec<String> {
    let is_index = |path: &&String| {
        let (folder, name) = split(path);
        name.ends_with(".index.json") && flavour(paths, folder) == Some(name)
    };
    // A router at the top names folders beside it; elsewhere they lie inside its own.
    let modules = ["modules.json", "router_config.json"].into_iter();
    let modules = modules.filter_map(|name| paths.get(name));
    modules.chain(paths.iter().filter(is_index)).cloned().collect()
}

/// Returns the files that make the model, given the content of its guides.
fn choose(paths: &BTreeSet<String>, guides: &BTreeMap<String, Vec<u8>>) -> Result<Vec<String>> {
    if paths.len() > FILES_LIMIT {
        return Err(Error::Unusable(format!("the repository has more than {FILES_LIMIT} files")));
    }
    let modules = guides.get("modules.json").map(|bytes| module_folders(bytes)).transpose()?;
    let mut modules = modules.unwrap_or_else(|| vec![String::new()]);
    let router = guides.get("router_config.json").map(|bytes| router_folders(bytes)).transpose()?;
    modules.extend(router.into_iter().flatten());
    let mut chosen = BTreeSet::new();
    for path in paths.iter().filter(|path| is_inside(path)) {
        let (folder, name) = split(path);
        let in_module = modules.iter().any(|module| is_below(folder, module));
        if (folder.is_empty() || in_module) && is_described(paths, folder, name) {
            chosen.insert(path.clone());
        }
        if in_module && flavour(paths, folder) == Some(name) {
            chosen.insert(path.clone());
            chosen.extend(shards(path, guides)?);
        }
    }
    check(paths, &chosen)?;
    Ok(chosen.into_iter().collect())
}

/// Tells whether a file describes the model: configuration, vocabulary, licence.
fn is_described(paths: &BTreeSet<String>, folder: &str, name: &str) -> bool {
    let is_old_config = name.starts_with("sentence_") && name.ends_with("_config.json");
    let is_vocabulary = VOCABULARIES.contains(&name) || name.ends_with(".model");
    let is_licence = name.starts_with("LICENSE") || name.starts_with("LICENCE");
    PLAIN.contains(&name)
        || is_old_config
        || folder.is_empty() && (TOP.contains(&name) || is_licence)
        || is_vocabulary && !paths.contains(&join(folder, "tokenizer.json"))
}

/// Returns the best flavour of weights that a folder has.
fn flavour(paths: &BTreeSet<String>, folder: &str) -> Option<&'static str> {
    WEIGHTS.iter().copied().find(|name| paths.contains(&join(folder, name)))
}

/// Returns the files that an index lists, which lie beside it.
fn shards(index: &str, guides: &BTreeMap<String, Vec<u8>>) -> Result<BTreeSet<String>> {
    let Some(bytes) = guides.get(index) else { return Ok(BTreeSet::new()) };
    let damaged = || Error::Unusable(format!("'{index}' is damaged"));
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        tracing::debug!(index, %error, "index cannot be read");
        damaged()
    })?;
    let map = value.get("weight_map").and_then(Value::as_object).ok_or_else(damaged)?;
    let (folder, _) = split(index);
    let names: Option<BTreeSet<&str>> = map.values().map(Value::as_str).collect();
    let is_weights = |name: &&str| {
        is_inside(name)
            && !name.contains('/')
            && (name.ends_with(".safetensors") || name.ends_with(".bin"))
    };
    let names = names.filter(|names| names.iter().all(is_weights)).ok_or_else(damaged)?;
    Ok(names.into_iter().map(|name| join(folder, name)).collect())
}

/// Returns the folders that `modules.json` names; the top folder is empty.
fn module_folders(bytes: &[u8]) -> Result<Vec<String>> {
    let damaged = || Error::Unusable("'modules.json' is damaged".to_owned());
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        tracing::debug!(%error, "modules.json cannot be read");
        damaged()
    })?;
    let folder = |module: &Value| {
        let path = module.get("path").and_then(Value::as_str)?;
        let path = path.trim_start_matches("./").trim_matches('/');
        let path = if path == "." { "" } else { path };
        (path.is_empty() || is_inside(path)).then(|| path.to_owned())
    };
    value.as_array().ok_or_else(damaged)?.iter().map(|m| folder(m).ok_or_else(damaged)).collect()
}

/// Returns the folders that a router at the top names.
fn router_folders(bytes: &[u8]) -> Result<Vec<String>> {
    let damaged = || Error::Unusable("'router_config.json' is damaged".to_owned());
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        tracing::debug!(%error, "router_config.json cannot be read");
        damaged()
    })?;
    let types = value.get("types").and_then(Value::as_object).ok_or_else(damaged)?;
    let folders: Vec<String> = types.keys().cloned().collect();
    if folders.iter().all(|folder| is_inside(folder)) { Ok(folders) } else { Err(damaged()) }
}

/// Says what is missing for a model, in words that help.
fn check(paths: &BTreeSet<String>, chosen: &BTreeSet<String>) -> Result<()> {
    if let Some(missing) = chosen.iter().find(|path| !paths.contains(*path)) {
        return Err(Error::Unusable(format!(
            "the repository lists '{missing}' but does not have it"
        )));
    }
    let has = |ending: &str| paths.iter().any(|path| path.ends_with(ending));
    let is_weights = |path: &String| path.ends_with(".safetensors") || path.ends_with(".bin");
    // A static model has no configuration but its list of modules.
    let is_config = |path: &String| ["config.json", "modules.json"].contains(&split(path).1);
    let reason = if chosen.iter().any(is_weights) && chosen.iter().any(is_config) {
        return Ok(());
    } else if has("adapter_config.json") {
        "the repository is an adapter, not a whole model"
    } else if has(".gguf") {
        "the repository holds GGUF files only"
    } else {
        "the repository has no config.json with weights in safetensors or PyTorch form"
    };
    Err(Error::Unusable(reason.to_owned()))
}

/// Tells whether a folder is a module's, or one inside it; the top has no folders inside.
fn is_below(folder: &str, module: &str) -> bool {
    folder == module
        || !module.is_empty()
            && folder.strip_prefix(module).is_some_and(|rest| rest.starts_with('/'))
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[&str], contents: &[(&str, &str)], want: &[&str]) {
        let paths: BTreeSet<String> = paths.iter().map(|&path| path.to_owned()).collect();
        let contents: BTreeMap<String, Vec<u8>> = contents
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect();
        assert_eq!(guides(&paths).len(), contents.len(), "{:?}", guides(&paths));
        match choose(&paths, &contents) {
            Ok(chosen) => assert_eq!(chosen, want),
            Err(error) => assert_eq!(want, [error.to_string()]),
        }
    }

    #[test]
    fn sentence_transformers() {
        check(
            &[
                "1_Pooling/config.json",
                "README.md",
                "config.json",
                "data_config.json",
                "model.fp16.safetensors",
                "model.safetensors",
                "modules.json",
                "onnx/config.json",
                "onnx/model.onnx",
                "pytorch_model.bin",
                "sentence_bert_config.json",
                "tf_model.h5",
                "tokenizer.json",
                "vocab.txt",
            ],
            &[("modules.json", r#"[{"path":""},{"path":"1_Pooling"},{"path":"2_Normalize"}]"#)],
            &[
                "1_Pooling/config.json",
                "README.md",
                "config.json",
                "model.safetensors",
                "modules.json",
                "sentence_bert_config.json",
                "tokenizer.json",
            ],
        );
    }

    #[test]
    fn a_router_at_the_top() {
        let paths = [
            "document_0_Transformer/config.json",
            "document_0_Transformer/model.safetensors",
            "modules.json",
            "other/config.json",
            "query_0_SparseStaticEmbedding/config.json",
            "query_0_SparseStaticEmbedding/model.safetensors",
            "router_config.json",
        ];
        let types =
            r#"{"types":{"query_0_SparseStaticEmbedding":"a.B","document_0_Transformer":"c.D"}}"#;
        let contents = [("modules.json", r#"[{"path":""}]"#), ("router_config.json", types)];
        let want: Vec<&str> = paths.into_iter().filter(|path| !path.starts_with("other")).collect();
        check(&paths, &contents, &want);
        let outside = [contents[0], ("router_config.json", r#"{"types":{"../x":"a.B"}}"#)];
        check(&paths, &outside, &["'router_config.json' is damaged"]);
    }

    #[test]
    fn weights_in_module_folders() {
        check(
            &[
                "0_CLIPModel/config.json",
                "0_CLIPModel/pytorch_model.bin",
                "0_CLIPModel/vocab.json",
                "2_Dense/config.json",
                "2_Dense/model.safetensors",
                "2_Dense/pytorch_model.bin",
                "modules.json",
                "pytorch_model.bin",
                "r/q/config.json",
            ],
            &[("modules.json", r#"[{"path":"./0_CLIPModel"},{"path":"2_Dense/"},{"path":"r"}]"#)],
            &[
                "0_CLIPModel/config.json",
                "0_CLIPModel/pytorch_model.bin",
                "0_CLIPModel/vocab.json",
                "2_Dense/config.json",
                "2_Dense/model.safetensors",
                "modules.json",
                "r/q/config.json",
            ],
        );
    }

    #[test]
    fn without_modules_and_without_tokenizer() {
        check(
            &[
                "colbert_linear.pt",
                "config.json",
                "imgs/a.png",
                "pytorch_model.bin",
                "spiece.model",
                "x/vocab.txt",
            ],
            &[],
            &["colbert_linear.pt", "config.json", "pytorch_model.bin", "spiece.model"],
        );
    }

    #[test]
    fn sharded() {
        let index = "model.safetensors.index.json";
        let files = ["a.safetensors", "b.safetensors", "config.json", index, "unused.safetensors"];
        let map = r#"{"weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors"}}"#;
        check(&files, &[(index, map)], &["a.safetensors", "b.safetensors", "config.json", index]);
        let missing = r#"{"weight_map":{"x":"c.safetensors"}}"#;
        check(
            &files,
            &[(index, missing)],
            &["the repository lists 'c.safetensors' but does not have it"],
        );
        for hostile in
            [r#"{"weight_map":{"x":"../c.bin"}}"#, r#"{"weight_map":{"x":1}}"#, "{}", "", "[]"]
        {
            check(&files, &[(index, hostile)], &["'model.safetensors.index.json' is damaged"]);
        }
    }

    #[test]
    fn one_gguf_file() {
        let choose = |files: &[&str], quant| {
            let paths: BTreeSet<String> = files.iter().map(|&path| path.to_owned()).collect();
            choose_gguf(&paths, quant).map_err(|error| error.to_string())
        };
        let files = [
            "README.md",
            "bge-m3-FP16.gguf",
            "bge-m3-q4_k_m.gguf",
            "bge-m3.Q8_0.gguf",
            "big-Q8_0-00001-of-00002.gguf",
            "mmproj-F32.gguf",
        ];
        assert_eq!(choose(&files, None).unwrap(), "bge-m3.Q8_0.gguf");
        assert_eq!(choose(&files, Some("Q4_K_M")).unwrap(), "bge-m3-q4_k_m.gguf");
        assert_eq!(choose(&files, Some("f16")).unwrap(), "bge-m3-FP16.gguf");
        let error = choose(&files, Some("Q5_0")).unwrap_err();
        assert!(error.ends_with("no GGUF file of Q5_0; it has F16, Q4_K_M, Q8_0"), "{error}");
        assert_eq!(choose(&["x.gguf"], None).unwrap(), "x.gguf");
        assert!(choose(&["x.txt"], None).is_err());
        for tag in ["Q8_0", "q4_k_m", "IQ4_XS", "F16", "bf16"] {
            assert!(is_quant(tag), "{tag}");
        }
        for tag in ["main", "v1.5", "latest", "Quick", "q", "1.5", "F16-x"] {
            assert!(!is_quant(tag), "{tag}");
        }
    }

    #[test]
    fn says_what_is_missing() {
        check(
            &["config.json"],
            &[],
            &["the repository has no config.json with weights in safetensors or PyTorch form"],
        );
        check(&["q4.gguf"], &[], &["the repository holds GGUF files only"]);
        check(
            &["adapter_config.json", "adapter_model.safetensors"],
            &[],
            &["the repository is an adapter, not a whole model"],
        );
        check(
            &["modules.json"],
            &[("modules.json", r#"[{"path":"../x"}]"#)],
            &["'modules.json' is damaged"],
        );
    }
}
