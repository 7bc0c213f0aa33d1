//! What a folder in sentence-transformers or Hugging Face layout, or a GGUF file, says about its model.
//!
//! Both the layout up to 5.x and that of 6.x are read; module types are matched by the last part of their dotted
//! name, because 6.x moved every class. Without `modules.json` the model is a transformer with mean pooling, which
//! is what sentence-transformers does with such a folder.

mod classifier;
mod gguf;
mod modules;
mod question;
mod sparse;
mod towers;

use std::{collections::BTreeMap, sync::Arc};

use modelfiles::recipe::{Pooling, Recipe, Side};
use serde_json::Value;

pub use self::classifier::Scoring;
use self::modules::{Module, Modules};
pub(crate) use self::question::Question;
pub(crate) use self::sparse::{Predictions, SparseStep};
pub(crate) use self::towers::{End, ProbeStep, Towers};
use crate::{
    Error, Files, Outputs, Plan,
    architectures::{self, Architecture},
    gguf::Gguf,
    images::Sight,
    plan::{Activation, Patches},
    settings::Settings,
    weights::Weights,
};

/// The module of a model that has a row for each token and nothing else.
const STATIC: &str = "StaticEmbedding";
/// The modules that make hidden states of texts.
const ENCODERS: [&str; 4] = ["Transformer", "MLMTransformer", "CLIPModel", STATIC];
/// A configuration file larger than this is not one.
const MOST_CONFIG_BYTES: u64 = 16 << 20;

/// How token vectors become one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PoolingStep {
    /// The results of these are concatenated in this order.
    pub(crate) modes: Vec<Pooling>,
    /// Whether the tokens of the prompt take part.
    pub(crate) include_prompt: bool,
}

/// A step behind the pooling.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A linear layer; its weights lie in `folder`, under a name that ends with `stem`.
    Dense {
        folder: String,
        stem: String,
        inputs: usize,
        outputs: usize,
        bias: bool,
        activation: Activation,
    },
    /// A layer norm, likewise.
    Norm { folder: String, stem: String, width: usize, bias: bool, epsilon: f64 },
    /// What these steps give is added to what they are given.
    Added(Vec<Self>),
    /// Division by the Euclidean norm.
    Normalize,
}

/// What becomes of a query where documents take another way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Queries {
    /// Its tokens are looked up in a list of weights, which lies in this folder.
    LookUp(String),
    /// Other steps follow the pooling.
    Steps(Vec<Step>),
}

impl Queries {
    fn read(files: &Files, documents: &[Module], queries: &[Module]) -> Result<Self, Error> {
        if let [Module { kind, folder }] = queries
            && kind == "SparseStaticEmbedding"
            && documents.iter().any(|module| module.kind == "SpladePooling")
        {
            return Ok(Self::LookUp(folder.clone()));
        }
        modules::refuse_unknown(queries)?;
        let encoders = |list: &[Module]| {
            let behind = ["Dense", "LayerNorm", "Normalize", "Dropout"];
            let encoders = list.iter().filter(|module| !behind.contains(&module.kind.as_str()));
            encoders.cloned().collect::<Vec<_>>()
        };
        if encoders(documents) != encoders(queries) {
            return Err(Error::Unsupported(
                "an encoder of their own for queries cannot run in this version".to_owned(),
            ));
        }
        modules::steps(files, queries).map(Self::Steps)
    }
}

/// The pipeline of a repository.
#[derive(Debug)]
pub(crate) struct Repository<'a> {
    files: &'a Files,
    /// Where the transformer lies: empty, or a folder with its slash.
    folder: String,
    /// `config.json` of the transformer.
    pub(crate) config: Settings,
    pub(crate) pooling: PoolingStep,
    pub(crate) steps: Vec<Step>,
    /// What gives weights of tokens, if there is something.
    pub(crate) sparse: Option<SparseStep>,
    /// The way of queries behind the encoder, or past it, where they have one of their own.
    pub(crate) queries: Option<Queries>,
    /// Whether a text that is called neither query nor document takes it.
    pub(crate) queries_by_default: bool,
    /// The file with a layer for the rows of tokens, if there is one.
    pub(crate) per_token: Option<String>,
    /// What there is to know of the encoder of images, if the model has one.
    pub(crate) towers: Option<Towers>,
    /// What makes a score of the number that comes out, if the model is a reranker.
    pub(crate) scoring: Option<Scoring>,
    /// What it is asked, if it is a language model that answers.
    pub(crate) question: Option<Question>,
    /// Whether the second of two texts has token type 1.
    pub(crate) tells_texts_apart: bool,
    /// Tokens before and behind every text that `tokenizer.json` may not know of.
    pub(crate) ends: [Option<String>; 2],
    /// The token that texts are filled up with, by name, and whether it stands before them.
    pub(crate) pad_token: Option<String>,
    pub(crate) pads_left: bool,
    /// The class of the tokenizer, where the repository says.
    pub(crate) tokenizer_class: String,
    /// Prompts by name.
    pub(crate) prompts: BTreeMap<String, String>,
    pub(crate) default_prompt: Option<String>,
    /// The most tokens of a text, where the repository says.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) lower_case: bool,
    /// Whether a tokenizer that is built from a vocabulary keeps upper case.
    pub(crate) cased: bool,
    pub(crate) truncation_side: Side,
    pub(crate) dimensions: Option<usize>,
    /// The file that is the whole repository, if it is one.
    pub(crate) gguf: Option<Arc<Gguf>>,
}

impl<'a> Repository<'a> {
    /// Reads the configuration files, then lets the recipe overrule them.
    pub(crate) fn open(files: &'a Files, recipe: &Recipe) -> Result<Self, Error> {
        if let Some(gguf) = Gguf::find(files)? {
            return Self::of_gguf(files, gguf, recipe);
        }
        let Modules { documents: modules, queries, queries_by_default } = modules::read_all(files)?;
        modules::refuse_unknown(&modules)?;
        let folder = modules
            .iter()
            .find(|module| ENCODERS.contains(&module.kind.as_str()))
            .map_or_else(String::new, |module| module.folder.clone());
        let mut steps = Vec::new();
        let path = format!("{folder}config.json");
        let config = match optional(files, &path)? {
            // Model2Vec's own definition holds for its models, also where sentence-transformers can open them.
            Some(config) if config.text(&["model_type"]) == Some("model2vec") => {
                steps.extend(config.flag(&["normalize"]).then_some(Step::Normalize));
                table(files, &folder, "model2vec")?
            }
            _ if modules.iter().any(|module| module.kind == STATIC) => {
                table(files, &folder, "static")?
            }
            config => config.ok_or_else(|| Error::file(&path, "missing"))?,
        };
        if modules.is_empty() {
            steps.extend(modules::default_steps(&config, &folder)?);
        }
        let per_token = "colbert_linear.pt";
        let mut repository = Self {
            sparse: sparse::read(files, &modules, &config)?,
            per_token: files.contains_key(per_token).then(|| per_token.to_owned()),
            queries: queries.map(|queries| Queries::read(files, &modules, &queries)).transpose()?,
            queries_by_default,
            folder,
            steps,
            ..Self::new(files, config)
        };
        repository.read_classifier()?;
        repository.read_modules(&modules)?;
        repository.read_question(&modules, recipe)?;
        repository.read_towers(&modules)?;
        repository.read_prompts()?;
        repository.read_limits()?;
        repository.obey(recipe)?;
        Ok(repository)
    }

    /// Takes a configuration, of which nothing more is known.
    fn new(files: &'a Files, config: Settings) -> Self {
        Self {
            files,
            pooling: modules::default_pooling(&config),
            config,
            folder: String::new(),
            steps: Vec::new(),
            sparse: None,
            per_token: None,
            queries: None,
            queries_by_default: false,
            towers: None,
            scoring: None,
            question: None,
            tells_texts_apart: true,
            ends: [None, None],
            pad_token: None,
            pads_left: false,
            tokenizer_class: String::new(),
            prompts: BTreeMap::new(),
            default_prompt: None,
            max_tokens: None,
            lower_case: false,
            cased: false,
            truncation_side: Side::Right,
            dimensions: None,
            gguf: None,
        }
    }

    /// Returns the architecture and plan of the encoder.
    pub(crate) fn plan(&self) -> Result<(Architecture, Plan), Error> {
        let (architecture, plan) = architectures::plan(&self.config)?;
        match &self.gguf {
            Some(gguf) => gguf.adapt(*architecture, plan),
            None => Ok((*architecture, plan)),
        }
    }

    /// Opens the weights of the transformer, of which this is the plan.
    pub(crate) fn weights(&self, plan: &Plan) -> Result<Weights, Error> {
        match &self.gguf {
            Some(gguf) => Ok(Weights::of_gguf(gguf, gguf.has_pairs().then_some(plan.head_size))),
            None => Weights::open(self.files, &self.folder),
        }
    }

    /// Opens the weights of a module.
    pub(crate) fn module_weights(&self, folder: &str) -> Result<Weights, Error> {
        match &self.gguf {
            Some(gguf) => Ok(Weights::of_gguf(gguf, None)),
            None => Weights::open(self.files, folder),
        }
    }

    /// Opens the weights of a PyTorch file.
    pub(crate) fn weights_in(&self, path: &str) -> Result<Weights, Error> {
        Weights::pickled(self.files, path)
    }

    /// Returns a list of weights by token, if the module of a folder names one.
    pub(crate) fn list_of_weights(&self, folder: &str) -> Result<Option<Settings>, Error> {
        let settings = optional(self.files, &format!("{folder}config.json"))?;
        let Some(name) = settings.as_ref().and_then(|settings| settings.text(&["path"])) else {
            return Ok(None);
        };
        // A list may lie beside the module, or at the top.
        let paths = [format!("{folder}{name}"), name.to_owned()];
        let path = paths.iter().find(|path| self.files.contains_key(*path)).unwrap_or(&paths[0]);
        optional(self.files, path)?
            .map_or_else(|| Err(Error::file(path, "missing")), |list| Ok(Some(list)))
    }

    /// Reads how images are made ready.
    pub(crate) fn sight(&self, patches: &Patches) -> Result<Sight, Error> {
        Sight::read(self.files, &self.folder, patches)
    }

    /// Returns a file that lies beside the transformer, or else at the top.
    pub(crate) fn tokenizer_file(&self, name: &str) -> Option<&'a std::path::Path> {
        let beside = self.files.get(&format!("{}{name}", self.folder));
        beside.or_else(|| self.files.get(name)).map(std::path::PathBuf::as_path)
    }

    /// Reads such a file.
    pub(crate) fn tokenizer_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let beside = read(self.files, &format!("{}{name}", self.folder))?;
        if beside.is_some() { Ok(beside) } else { read(self.files, name) }
    }

    fn read_classifier(&mut self) -> Result<(), Error> {
        let other = optional(self.files, "config_sentence_transformers.json")?;
        if let Some(found) = classifier::read(&self.config, other.as_ref(), &self.folder)? {
            (self.pooling, self.steps) = (found.pooling, found.steps);
            self.scoring = Some(found.scoring);
        }
        Ok(())
    }

    fn read_modules(&mut self, list: &[Module]) -> Result<(), Error> {
        if let Some(module) = list.iter().find(|module| module.kind == "Pooling") {
            self.pooling = modules::pooling(self.files, &module.folder)?;
        }
        if !list.is_empty() {
            self.steps = modules::steps(self.files, list)?;
        }
        Ok(())
    }

    /// Reads what stands behind two encoders, before the steps of modules.
    fn read_towers(&mut self, list: &[Module]) -> Result<(), Error> {
        let Some((pooling, mut steps, mut towers)) = towers::read(&self.config, &self.folder)?
        else {
            return Ok(());
        };
        let refuse = |what| Err(Error::Unsupported(format!("{what} cannot run in this version")));
        if list.iter().any(|module| module.kind == "Pooling") {
            return refuse("a module 'Pooling' of a model of images");
        }
        if self.queries.is_some() {
            return refuse("a router of a model of images");
        }
        steps.extend(self.steps.iter().cloned());
        towers.steps.append(&mut self.steps);
        (self.pooling, self.steps, self.towers) = (pooling, steps, Some(towers));
        Ok(())
    }

    fn read_prompts(&mut self) -> Result<(), Error> {
        let name = "config_sentence_transformers.json";
        let Some(settings) = optional(self.files, name)? else { return Ok(()) };
        if let Some(kind) = settings.text(&["model_type"])
            && kind != self.kind()
        {
            return Err(Error::Unsupported(format!(
                "models of type '{kind}' cannot run in this version"
            )));
        }
        if let Some(prompts) = settings.get(&["prompts"]).and_then(Value::as_object) {
            let texts = prompts.iter().filter_map(|(name, text)| Some((name, text.as_str()?)));
            self.prompts = texts.map(|(name, text)| (name.clone(), text.to_owned())).collect();
        }
        let default = settings.text(&["default_prompt_name"]);
        self.default_prompt = default.and_then(|name| self.prompts.get(name)).cloned();
        self.dimensions = settings.number(&["truncate_dim"]).map(|n| n as usize).filter(|n| *n > 0);
        Ok(())
    }

    /// Returns what sentence-transformers calls such a model.
    fn kind(&self) -> &'static str {
        match (self.scoring, self.predicts()) {
            (Some(_), _) => "CrossEncoder",
            (None, true) => "SparseEncoder",
            (None, false) => "SentenceTransformer",
        }
    }

    /// Says whether all that it gives is what it predicts in place of tokens.
    pub(crate) fn predicts(&self) -> bool {
        matches!(self.sparse, Some(SparseStep::Predictions(_)))
    }

    /// Returns what a text can be turned into.
    pub(crate) fn outputs(&self) -> Outputs {
        let (sparse, dense) = (self.sparse.is_some(), !self.predicts());
        match self.scoring {
            Some(_) => Outputs::DENSE,
            None if self.towers.is_some() => Outputs::DENSE,
            None => Outputs { dense, sparse, multivector: dense },
        }
    }

    fn read_limits(&mut self) -> Result<(), Error> {
        let mut longest = None;
        for family in ["bert", "roberta", "distilbert", "camembert", "xlm-roberta"] {
            let path = format!("{}sentence_{family}_config.json", self.folder);
            let Some(settings) = optional(self.files, &path)? else { continue };
            longest = settings.number(&["max_seq_length"]);
            self.lower_case = settings.flag(&["do_lower_case"]);
            break;
        }
        if let Some(settings) =
            optional(self.files, &format!("{}tokenizer_config.json", self.folder))?
        {
            // Unlimited tokenizers say 1e30 here, which is no integer.
            longest = longest.or_else(|| settings.number(&["model_max_length"]));
            // What transformers loads by this name has token types; the class without a name of its own has none.
            let class = settings.text(&["tokenizer_class"]).unwrap_or("Bert");
            self.tells_texts_apart = class.contains("Bert");
            let side = settings.text(&["padding_side"]);
            self.pads_left = side.map_or(class == "Siglip2Tokenizer", |side| side == "left");
            class.clone_into(&mut self.tokenizer_class);
            self.pad_token = name(&settings, "pad_token");
            self.ends = ends(&settings, class);
            self.cased = settings.get(&["do_lower_case"]) == Some(&Value::Bool(false));
            if settings.text(&["truncation_side"]) == Some("left") {
                self.truncation_side = Side::Left;
            }
        }
        // Static models have no positions, and nobody cuts their texts.
        let is_static = matches!(self.config.text(&["model_type"]), Some("model2vec" | "static"));
        let longest = longest.filter(|n| *n >= 1.0 && !is_static);
        self.max_tokens = longest.map(|n| n as usize);
        Ok(())
    }

    fn obey(&mut self, recipe: &Recipe) -> Result<(), Error> {
        if self.scoring.is_some() {
            self.max_tokens = recipe.max_tokens.or(self.max_tokens);
            let instruction = recipe.prompt.as_ref().or(self.default_prompt.as_ref());
            if let (Some(question), Some(instruction)) = (&mut self.question, instruction) {
                question.instruction.clone_from(instruction);
            }
            return Ok(());
        }
        match recipe.pooling.filter(|_| self.towers.is_none()) {
            Some(Pooling::Splade) if !self.predicts() => {
                self.sparse = Some(SparseStep::Predictions(sparse::predictions(&self.config)?));
            }
            Some(mode) => self.pooling.modes = vec![mode],
            None => {}
        }
        let behind_queries = match &mut self.queries {
            Some(Queries::Steps(steps)) => Some(steps),
            _ => None,
        };
        let behind_images = self.towers.as_mut().map(|towers| &mut towers.steps);
        let all = [Some(&mut self.steps), behind_queries, behind_images];
        for steps in all.into_iter().flatten() {
            match recipe.normalize {
                Some(true) if !steps.contains(&Step::Normalize) => steps.push(Step::Normalize),
                Some(false) => steps.retain(|step| *step != Step::Normalize),
                _ => {}
            }
        }
        let named = [("query", &recipe.query_prompt), ("document", &recipe.document_prompt)];
        for (name, text) in named {
            if let Some(text) = text {
                self.prompts.insert(name.to_owned(), text.clone());
            }
        }
        if let Some(text) = &recipe.prompt {
            self.default_prompt = Some(text.clone());
        }
        self.truncation_side = recipe.truncation_side.unwrap_or(self.truncation_side);
        self.max_tokens = recipe.max_tokens.or(self.max_tokens);
        self.dimensions = recipe.dimensions.or(self.dimensions);
        Ok(())
    }
}

/// Returns the tokens that the classes of Llama and Qwen2 put around a text when their settings say so, whatever the
/// file of the tokenizer says.
fn ends(settings: &Settings, class: &str) -> [Option<String>; 2] {
    let obeys = class.contains("Llama") || class.contains("Qwen2");
    [("add_bos_token", "bos_token"), ("add_eos_token", "eos_token")].map(|(switch, token)| {
        (obeys && settings.flag(&[switch])).then(|| name(settings, token)).flatten()
    })
}

/// Returns the name of a special token, which may be an object with more about it.
fn name(settings: &Settings, token: &str) -> Option<String> {
    let token = settings.get(&[token])?;
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
}

/// Describes a table of static rows: its sizes stand in the header of its file alone.
fn table(files: &Files, folder: &str, model_type: &str) -> Result<Settings, Error> {
    let (tokens, width) = Weights::open(files, folder)?.static_sizes()?;
    let values = serde_json::json!({ "model_type": model_type, "width": width, "tokens": tokens });
    Ok(Settings::new("model.safetensors", values))
}

/// Reads a JSON object, if the file is there.
fn optional(files: &Files, path: &str) -> Result<Option<Settings>, Error> {
    read(files, path)?.map(|bytes| Settings::parse(path, &bytes)).transpose()
}

/// Reads a small file, if it is there.
pub(crate) fn read(files: &Files, path: &str) -> Result<Option<Vec<u8>>, Error> {
    let Some(disk) = files.get(path) else { return Ok(None) };
    let size = std::fs::metadata(disk).map_err(|e| Error::file(path, e))?.len();
    if size > MOST_CONFIG_BYTES {
        return Err(Error::file(path, format!("{size} bytes is too large")));
    }
    std::fs::read(disk).map(Some).map_err(|e| Error::file(path, e))
}
