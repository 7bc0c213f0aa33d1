//! What a folder in sentence-transformers or Hugging Face layout says about its model.
//!
//! Both the layout up to 5.x and that of 6.x are read; module types are matched by the last part of their dotted
//! name, because 6.x moved every class. Without `modules.json` the model is a transformer with mean pooling, which
//! is what sentence-transformers does with such a folder.

use std::collections::BTreeMap;

use modelfiles::recipe::{Pooling, Recipe, Side};
use serde_json::Value;

use crate::{Error, Files, plan::Activation, settings::Settings, weights::Weights};

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
    /// A linear layer; its weights lie in `folder`.
    Dense { folder: String, inputs: usize, outputs: usize, bias: bool, activation: Activation },
    /// Division by the Euclidean norm.
    Normalize,
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
    /// Prompts by name.
    pub(crate) prompts: BTreeMap<String, String>,
    pub(crate) default_prompt: Option<String>,
    /// The most tokens of a text, where the repository says.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) lower_case: bool,
    pub(crate) truncation_side: Side,
    pub(crate) dimensions: Option<usize>,
}

impl<'a> Repository<'a> {
    /// Reads the configuration files, then lets the recipe overrule them.
    pub(crate) fn open(files: &'a Files, recipe: &Recipe) -> Result<Self, Error> {
        let modules = modules(files)?;
        let folder = modules
            .iter()
            .find(|module| module.kind == "Transformer")
            .map_or_else(String::new, |module| module.folder.clone());
        let required = |name: &str| Error::file(name, "missing");
        let path = format!("{folder}config.json");
        let config = optional(files, &path)?.ok_or_else(|| required(&path))?;
        let mut repository = Self {
            files,
            pooling: default_pooling(&config),
            config,
            folder,
            steps: Vec::new(),
            prompts: BTreeMap::new(),
            default_prompt: None,
            max_tokens: None,
            lower_case: false,
            truncation_side: Side::Right,
            dimensions: None,
        };
        repository.read_modules(&modules)?;
        repository.read_prompts()?;
        repository.read_limits()?;
        repository.obey(recipe);
        Ok(repository)
    }

    /// Opens the weights of the transformer.
    pub(crate) fn weights(&self) -> Result<Weights, Error> {
        Weights::open(self.files, &self.folder)
    }

    /// Opens the weights of a module.
    pub(crate) fn module_weights(&self, folder: &str) -> Result<Weights, Error> {
        Weights::open(self.files, folder)
    }

    /// Returns a file that lies beside the transformer, or else at the top.
    pub(crate) fn tokenizer_file(&self, name: &str) -> Option<&'a std::path::Path> {
        let beside = self.files.get(&format!("{}{name}", self.folder));
        beside.or_else(|| self.files.get(name)).map(std::path::PathBuf::as_path)
    }

    fn read_modules(&mut self, modules: &[Module]) -> Result<(), Error> {
        for module in modules {
            match module.kind.as_str() {
                "Transformer" | "Dropout" => {}
                "Pooling" => self.pooling = pooling(self.files, &module.folder)?,
                "Dense" => self.steps.push(dense(self.files, &module.folder)?),
                "Normalize" => self.steps.push(Step::Normalize),
                other => {
                    let text = format!("module '{other}' cannot run in this version");
                    return Err(Error::Unsupported(text));
                }
            }
        }
        Ok(())
    }

    fn read_prompts(&mut self) -> Result<(), Error> {
        let name = "config_sentence_transformers.json";
        let Some(settings) = optional(self.files, name)? else { return Ok(()) };
        if let Some(kind) = settings.text(&["model_type"])
            && kind != "SentenceTransformer"
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
            if settings.text(&["truncation_side"]) == Some("left") {
                self.truncation_side = Side::Left;
            }
        }
        self.max_tokens = longest.filter(|n| *n >= 1.0).map(|n| n as usize);
        Ok(())
    }

    fn obey(&mut self, recipe: &Recipe) {
        if let Some(mode) = recipe.pooling {
            self.pooling.modes = vec![mode];
        }
        match recipe.normalize {
            Some(true) if !self.steps.contains(&Step::Normalize) => {
                self.steps.push(Step::Normalize);
            }
            Some(false) => self.steps.retain(|step| *step != Step::Normalize),
            _ => {}
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
    }
}

/// One entry of `modules.json`.
struct Module {
    kind: String,
    folder: String,
}

/// Returns the modules in order; none when the repository has no `modules.json`.
fn modules(files: &Files) -> Result<Vec<Module>, Error> {
    let name = "modules.json";
    let Some(bytes) = read(files, name)? else { return Ok(Vec::new()) };
    let list: Vec<Value> = serde_json::from_slice(&bytes).map_err(|e| Error::file(name, e))?;
    let text =
        |module: &Value, key: &str| module.get(key).and_then(Value::as_str).map(str::to_owned);
    list.iter()
        .map(|module| {
            let kind =
                text(module, "type").ok_or_else(|| Error::file(name, "a module has no type"))?;
            let kind = kind.rsplit('.').next().unwrap_or_default().to_owned();
            let path = text(module, "path").unwrap_or_default();
            let path = path.trim_matches('/');
            let folder = if path.is_empty() { String::new() } else { format!("{path}/") };
            Ok(Module { kind, folder })
        })
        .collect()
}

/// Returns the pooling of a folder without modules: the last token of a causal model, else the mean.
fn default_pooling(config: &Settings) -> PoolingStep {
    let first = config.get(&["architectures"]).and_then(|list| list.get(0)).and_then(Value::as_str);
    let causal = first.is_some_and(|name| name.ends_with("ForCausalLM"))
        && config.get(&["is_causal"]) != Some(&Value::Bool(false));
    let mode = if causal { Pooling::Last } else { Pooling::Mean };
    PoolingStep { modes: vec![mode], include_prompt: true }
}

/// Reads a Pooling module: a name or list of names (6.x), or one truth value per mode (up to 5.x).
fn pooling(files: &Files, folder: &str) -> Result<PoolingStep, Error> {
    let path = format!("{folder}config.json");
    let settings = optional(files, &path)?.ok_or_else(|| Error::file(&path, "missing"))?;
    // 6.x concatenates in the order of its list; the truth values of earlier versions have no order but this.
    let known = [
        (Pooling::Cls, "cls", "pooling_mode_cls_token"),
        (Pooling::Max, "max", "pooling_mode_max_tokens"),
        (Pooling::Mean, "mean", "pooling_mode_mean_tokens"),
        (Pooling::SqrtMean, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"),
        (Pooling::WeightedMean, "weightedmean", "pooling_mode_weightedmean_tokens"),
        (Pooling::Last, "lasttoken", "pooling_mode_lasttoken"),
    ];
    let names: Vec<&str> = match settings.get(&["pooling_mode"]) {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mode = |name: &&str| {
        let row = known.iter().find(|row| row.1 == *name);
        row.map(|row| row.0).ok_or_else(|| unsupported_pooling(name))
    };
    let mut modes = names.iter().map(mode).collect::<Result<Vec<Pooling>, Error>>()?;
    if modes.is_empty() {
        modes.extend(known.iter().filter(|row| settings.flag(&[row.2])).map(|row| row.0));
    }
    if modes.is_empty() {
        modes.push(Pooling::Mean);
    }
    let include_prompt = settings.get(&["include_prompt"]) != Some(&Value::Bool(false));
    Ok(PoolingStep { modes, include_prompt })
}

fn unsupported_pooling(name: &str) -> Error {
    Error::Unsupported(format!("pooling '{name}' cannot run in this version"))
}

/// Reads a Dense module.
fn dense(files: &Files, folder: &str) -> Result<Step, Error> {
    let path = format!("{folder}config.json");
    let settings = optional(files, &path)?.ok_or_else(|| Error::file(&path, "missing"))?;
    let unsupported =
        |text: &str| Error::Unsupported(format!("{path}: {text} cannot run in this version"));
    if settings.flag(&["use_residual"]) {
        return Err(unsupported("a residual dense layer"));
    }
    let input = settings.text(&["module_input_name"]).unwrap_or("sentence_embedding");
    if input != "sentence_embedding" {
        return Err(unsupported("a dense layer over tokens"));
    }
    let class =
        settings.text(&["activation_function"]).unwrap_or("torch.nn.modules.activation.Tanh");
    let activation = class
        .starts_with("torch.")
        .then(|| class.rsplit('.').next().unwrap_or_default().to_ascii_lowercase())
        .and_then(|name| Activation::parse(&name))
        .ok_or_else(|| unsupported(&format!("activation '{class}'")))?;
    let most = crate::plan::most::WIDTH;
    Ok(Step::Dense {
        folder: folder.to_owned(),
        inputs: settings.size(&["in_features"], most)?,
        outputs: settings.size(&["out_features"], most)?,
        bias: settings.get(&["bias"]) != Some(&Value::Bool(false)),
        activation,
    })
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
