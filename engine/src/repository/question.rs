//! What a language model is asked that judges documents: the words of Qwen3-Reranker around a query and a document.

use modelfiles::recipe::{Pooling, Recipe, Rerank};
use serde_json::Value;

use super::{PoolingStep, Repository, classifier, modules::Module, optional, read};
use crate::{Error, settings::Settings};

/// What stands before the instruction, in the words of the model's card.
const BEFORE: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
    Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
/// What stands behind the document.
const BEHIND: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
/// What the query is there for, where nobody says.
const INSTRUCTION: &str =
    "Given a web search query, retrieve relevant passages that answer the query";
/// The module that makes a score of what a language model predicts.
pub(super) const LOGIT_SCORE: &str = "LogitScore";

/// What is asked, and which answers count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) instruction: String,
    /// The tokens of the answers yes and, if it counts too, no. Without them they are the tokens of these words.
    pub(crate) answers: Option<(u32, Option<u32>)>,
}

impl Question {
    /// Reads what a repository or its recipe says of a question; none if the model is asked nothing.
    pub(super) fn read(
        repository: &Repository<'_>,
        modules: &[Module],
        recipe: &Recipe,
    ) -> Result<Option<Self>, Error> {
        let module = modules.iter().find(|module| module.kind == LOGIT_SCORE);
        if module.is_none() && recipe.rerank != Some(Rerank::YesNo) {
            return Ok(None);
        }
        let model_type = repository.config.text(&["model_type"]).unwrap_or_default();
        if model_type != "qwen3" {
            return Err(unsupported(&format!("'{model_type}' as a judge of documents")));
        }
        let answers = match module {
            Some(module) => {
                check_words(repository)?;
                let path = format!("{}config.json", module.folder);
                let settings = optional(repository.files, &path)?;
                Some(answers(&settings.ok_or_else(|| Error::file(&path, "missing"))?)?)
            }
            None => None,
        };
        Ok(Some(Self { instruction: INSTRUCTION.to_owned(), answers }))
    }

    /// Returns what stands before a document, but for the document's own mark.
    pub(crate) fn before(query: &str, instruction: &str) -> String {
        format!("<Instruct>: {instruction}\n<Query>: {query}\n")
    }

    /// Returns the document with its mark.
    pub(crate) fn document(text: &str) -> String {
        format!("<Document>: {text}")
    }

    /// Returns what stands before and behind everything else.
    pub(crate) fn frame() -> [&'static str; 2] {
        [BEFORE, BEHIND]
    }
}

impl Repository<'_> {
    /// Reads what a language model is asked, and takes its last token for what it answers.
    pub(super) fn read_question(
        &mut self,
        modules: &[Module],
        recipe: &Recipe,
    ) -> Result<(), Error> {
        self.question = Question::read(self, modules, recipe)?;
        if self.question.is_some() {
            let other = optional(self.files, "config_sentence_transformers.json")?;
            self.scoring = Some(classifier::scoring(&self.config, other.as_ref(), 1)?);
            self.pooling = PoolingStep { modes: vec![Pooling::Last], include_prompt: true };
            self.steps = Vec::new();
        }
        Ok(())
    }
}

/// Reads the answers that a module names.
fn answers(settings: &Settings) -> Result<(u32, Option<u32>), Error> {
    let id = |key: &str| match settings.get(&[key]) {
        None => Ok(None),
        Some(id) => {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            id.map(Some).ok_or_else(|| settings.error(format!("'{key}' is no token")))
        }
    };
    let yes = id("true_token_id")?.ok_or_else(|| settings.error("'true_token_id' is missing"))?;
    Ok((yes, id("false_token_id")?))
}

/// Refuses a repository that asks in other words: its template is a program, of which only the words can be compared.
fn check_words(repository: &Repository<'_>) -> Result<(), Error> {
    let at = |name: &str| format!("{}{name}", repository.folder);
    let template = match read(repository.files, &at("chat_template.jinja"))? {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => {
            let settings = optional(repository.files, &at("tokenizer_config.json"))?;
            let template = settings.as_ref().and_then(|settings| settings.get(&["chat_template"]));
            template.and_then(Value::as_str).unwrap_or_default().to_owned()
        }
    };
    // A template may write a line break as such or as its escape.
    let template = template.replace("\\n", "\n");
    let marks = ["<Instruct>: ", "<Query>: ", "<Document>: "];
    let lines = BEFORE.lines().chain(BEHIND.lines()).filter(|line| !line.is_empty());
    match lines.chain(marks).find(|words| !template.contains(words)) {
        Some(_) => Err(unsupported("a chat template other than Qwen3-Reranker's")),
        None => Ok(()),
    }
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!("{what} cannot run in this version"))
}
