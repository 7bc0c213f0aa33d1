//! Which pipeline does a GGUF file describe? Pooling, dense layers behind it and normalisation, as Ollama runs them.

use std::sync::Arc;

use modelfiles::recipe::{Pooling, Recipe};

use super::{PoolingStep, Repository, Step};
use crate::{
    Error, Files,
    gguf::Gguf,
    plan::{Activation, most},
};

/// What dense layers are called: by llama.cpp, and in files that Ollama made before.
const DENSE: [[&str; 2]; 2] = [["dense_2", "dense_3"], ["dense.0", "dense.1"]];

impl<'a> Repository<'a> {
    /// Reads the metadata, then lets the recipe overrule it.
    pub(super) fn of_gguf(
        files: &'a Files,
        gguf: Arc<Gguf>,
        recipe: &Recipe,
    ) -> Result<Self, Error> {
        let config = gguf.settings()?;
        let mut steps = dense(&gguf)?;
        steps.extend(normalizes(&gguf).then_some(Step::Normalize));
        let context = gguf.own("context_length").as_u64().filter(|tokens| *tokens > 0);
        let mut repository = Self {
            pooling: PoolingStep { modes: vec![pooling(&gguf)?], include_prompt: true },
            steps,
            max_tokens: context.and_then(|tokens| usize::try_from(tokens).ok()),
            gguf: Some(gguf),
            ..Self::new(files, config)
        };
        repository.obey(recipe)?;
        Ok(repository)
    }
}

/// Returns the pooling; a file that names none has the last token of a decoder, else the mean.
fn pooling(gguf: &Gguf) -> Result<Pooling, Error> {
    match gguf.own("pooling_type").as_u64() {
        Some(1) => Ok(Pooling::Mean),
        Some(2) => Ok(Pooling::Cls),
        Some(3) => Ok(Pooling::Last),
        Some(4) => Err(unsupported("rerankers in GGUF format")),
        None | Some(0) => {
            let decodes = matches!(gguf.architecture(), "llama" | "qwen2" | "qwen3");
            Ok(if decodes { Pooling::Last } else { Pooling::Mean })
        }
        Some(other) => Err(unsupported(&format!("pooling {other}"))),
    }
}

/// Says whether vectors come out with length 1: where the file says nothing, as Ollama decides it.
fn normalizes(gguf: &Gguf) -> bool {
    if gguf.own("pooling_type").is_null() {
        return true;
    }
    let said = gguf.own("normalize_embeddings").as_bool();
    match gguf.architecture() {
        "bert" if gguf.text("tokenizer.ggml.model").unwrap_or("bert") != "bert" => false,
        "bert" => said.unwrap_or(true),
        "nomic-bert" => said.unwrap_or(false),
        _ => true,
    }
}

/// Returns the dense layers behind the pooling.
fn dense(gguf: &Gguf) -> Result<Vec<Step>, Error> {
    let is_there = |stem: &&str| gguf.has(&format!("{stem}.weight"));
    let found = DENSE.iter().find_map(|stems| {
        let stems: Vec<&str> = stems.iter().filter(|stem| is_there(stem)).copied().collect();
        (!stems.is_empty()).then_some(stems)
    });
    let stems = found.unwrap_or_default();
    if !stems.is_empty() && !gguf.architecture().starts_with("gemma") {
        return Err(unsupported("a dense layer over tokens"));
    }
    stems.into_iter().map(|stem| layer(gguf, stem)).collect()
}

fn layer(gguf: &Gguf, stem: &str) -> Result<Step, Error> {
    let place = gguf.tensors().get(&format!("{stem}.weight"));
    let sizes = place.map(|place| place.shape.as_slice());
    match sizes {
        Some([outputs, inputs])
            if [*outputs, *inputs].iter().all(|size| (1..=most::WIDTH).contains(size)) =>
        {
            Ok(Step::Dense {
                folder: String::new(),
                stem: stem.to_owned(),
                inputs: *inputs,
                outputs: *outputs,
                bias: gguf.has(&format!("{stem}.bias")),
                activation: Activation::Identity,
            })
        }
        _ => Err(gguf.error(format!("'{stem}.weight' is no dense layer"))),
    }
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!("{what} cannot run in this version"))
}
