//! What the modules of a sentence-transformers repository are: `modules.json` and a folder for each.

use modelfiles::recipe::Pooling;
use serde_json::{Map, Value};

use super::{PoolingStep, Step, optional, read};
use crate::{Error, Files, plan::Activation, settings::Settings};

/// One entry of `modules.json`, or of a router.
#[derive(Clone, PartialEq)]
pub(super) struct Module {
    /// The last part of its type.
    pub(super) kind: String,
    /// Where its files lie: empty, or a folder with its slash.
    pub(super) folder: String,
}

/// The ways through a model, as lists of modules.
#[derive(Default)]
pub(super) struct Modules {
    /// What a document passes through; none when the repository has no `modules.json`.
    pub(super) documents: Vec<Module>,
    /// What a query passes through, where it takes another way.
    pub(super) queries: Option<Vec<Module>>,
    /// Whether a text that is called neither takes the way of a query.
    pub(super) queries_by_default: bool,
}

/// Reads the modules in order.
pub(super) fn read_all(files: &Files) -> Result<Modules, Error> {
    let name = "modules.json";
    let Some(bytes) = read(files, name)? else { return Ok(Modules::default()) };
    let list: Vec<Value> = serde_json::from_slice(&bytes).map_err(|e| Error::file(name, e))?;
    let mut modules = Modules::default();
    for entry in &list {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let kind = text("type").ok_or_else(|| Error::file(name, "a module has no type"))?;
        let module = Module::new(kind, "", text("path").unwrap_or_default());
        if ["Router", "Asym"].contains(&module.kind.as_str()) {
            modules.fork(files, &module)?;
        } else {
            modules.queries.iter_mut().for_each(|queries| queries.push(module.clone()));
            modules.documents.push(module);
        }
    }
    Ok(modules)
}

impl Module {
    fn new(kind: &str, folder: &str, path: &str) -> Self {
        let kind = kind.rsplit('.').next().unwrap_or_default().to_owned();
        let path = path.trim_start_matches("./").trim_matches('/');
        let path = if path == "." { "" } else { path };
        let slash = if path.is_empty() { "" } else { "/" };
        Self { kind, folder: format!("{folder}{path}{slash}") }
    }
}

impl Modules {
    /// Follows a router, where queries and documents part.
    fn fork(&mut self, files: &Files, router: &Module) -> Result<(), Error> {
        let names = ["router_config.json", "config.json"];
        let path = names.map(|name| format!("{}{name}", router.folder));
        let path = path.iter().find(|path| files.contains_key(*path)).unwrap_or(&path[0]);
        let settings = optional(files, path)?.ok_or_else(|| Error::file(path, "missing"))?;
        let unsupported =
            |what: &str| Error::Unsupported(format!("{path}: {what} cannot run in this version"));
        let parameter = |key: &str| settings.get(&["parameters"])?.get(key);
        if parameter("route_mappings").is_some_and(|map| map != &Value::Object(Map::new())) {
            return Err(unsupported("a router with mappings"));
        }
        let routes = settings.get(&["structure"]).and_then(Value::as_object);
        let routes = routes.ok_or_else(|| Error::file(path, "no 'structure'"))?;
        let route = |names: &[&str]| {
            let found = names.iter().find_map(|name| routes.get(*name));
            let list = found
                .and_then(Value::as_array)
                .ok_or_else(|| unsupported(&format!("a router without a route '{}'", names[0])))?;
            let module = |name: &str| {
                let kind = settings.get(&["types"])?.get(name)?.as_str()?;
                Some(Module::new(kind, &router.folder, name))
            };
            let modules = list.iter().map(|name| name.as_str().and_then(module));
            modules
                .collect::<Option<Vec<Module>>>()
                .ok_or_else(|| Error::file(path, "a route names a module that has no type"))
        };
        let mut queries = self.queries.take().unwrap_or_else(|| self.documents.clone());
        queries.extend(route(&["query"])?);
        self.documents.extend(route(&["document", "passage", "corpus", "doc"])?);
        self.queries = Some(queries);
        // Without a default the first of the routes is one.
        let default = parameter("default_route").and_then(Value::as_str);
        let default = default.or_else(|| routes.keys().next().map(String::as_str));
        self.queries_by_default = default == Some("query");
        Ok(())
    }
}

/// Reads the steps behind the pooling.
pub(super) fn steps(files: &Files, modules: &[Module]) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    for module in modules {
        match module.kind.as_str() {
            "Dense" => steps.push(dense(files, &module.folder)?),
            "LayerNorm" => steps.push(norm(files, &module.folder)?),
            "Normalize" if steps.last() != Some(&Step::Normalize) => steps.push(Step::Normalize),
            _ => {}
        }
    }
    Ok(steps)
}

/// Returns the pooling of a folder without modules: the last token of a causal model, the first one of DPR, else the
/// mean.
pub(super) fn default_pooling(config: &Settings) -> PoolingStep {
    if is_dpr(config) {
        return PoolingStep { modes: vec![Pooling::Cls], include_prompt: true };
    }
    let first = config.get(&["architectures"]).and_then(|list| list.get(0)).and_then(Value::as_str);
    let causal = first.is_some_and(|name| name.ends_with("ForCausalLM"))
        && config.get(&["is_causal"]) != Some(&Value::Bool(false));
    let mode = if causal { Pooling::Last } else { Pooling::Mean };
    PoolingStep { modes: vec![mode], include_prompt: true }
}

fn is_dpr(config: &Settings) -> bool {
    config.text(&["model_type"]) == Some("dpr")
}

/// Returns the steps behind the pooling of a folder without modules: DPR may have a projection.
pub(super) fn default_steps(config: &Settings, folder: &str) -> Result<Vec<Step>, Error> {
    let projects = is_dpr(config) && config.number(&["projection_dim"]).is_some_and(|n| n > 0.0);
    if !projects {
        return Ok(Vec::new());
    }
    let most = crate::plan::most::WIDTH;
    Ok(vec![Step::Dense {
        folder: folder.to_owned(),
        stem: "encode_proj".to_owned(),
        inputs: config.size(&["hidden_size"], most)?,
        outputs: config.size(&["projection_dim"], most)?,
        bias: true,
        activation: Activation::Identity,
    }])
}

/// Reads a Pooling module: a name or list of names (6.x), or one truth value per mode (up to 5.x).
pub(super) fn pooling(files: &Files, folder: &str) -> Result<PoolingStep, Error> {
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
    if modes.len() > known.len() {
        return Err(Error::file(&path, "names more poolings than there are"));
    }
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
    let [inputs, outputs] = ["in_features", "out_features"].map(|key| settings.size(&[key], most));
    let (inputs, outputs) = (inputs?, outputs?);
    let dense = Step::Dense {
        folder: folder.to_owned(),
        stem: "linear".to_owned(),
        inputs,
        outputs,
        bias: settings.get(&["bias"]) != Some(&Value::Bool(false)),
        activation,
    };
    match settings.flag(&["use_residual"]) {
        false => Ok(dense),
        true if inputs == outputs => Ok(Step::Added(vec![dense])),
        true => Err(unsupported("a residual dense layer that changes the length")),
    }
}

/// Reads a LayerNorm module.
fn norm(files: &Files, folder: &str) -> Result<Step, Error> {
    let path = format!("{folder}config.json");
    let settings = optional(files, &path)?.ok_or_else(|| Error::file(&path, "missing"))?;
    Ok(Step::Norm {
        folder: folder.to_owned(),
        stem: "norm".to_owned(),
        width: settings.size(&["dimension"], crate::plan::most::WIDTH)?,
        bias: true,
        epsilon: 1e-5,
    })
}

/// Refuses modules that no part of the pipeline computes.
pub(super) fn refuse_unknown(modules: &[Module]) -> Result<(), Error> {
    const KNOWN: [&str; 7] = [
        "Pooling",
        "SpladePooling",
        "Dense",
        "LayerNorm",
        "Normalize",
        "Dropout",
        super::question::LOGIT_SCORE,
    ];
    let known = |kind: &str| super::ENCODERS.contains(&kind) || KNOWN.contains(&kind);
    match modules.iter().find(|module| !known(&module.kind)) {
        Some(Module { kind, .. }) => {
            Err(Error::Unsupported(format!("module '{kind}' cannot run in this version")))
        }
        None => Ok(()),
    }
}
