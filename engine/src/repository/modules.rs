//! What the modules of a sentence-transformers repository are: `modules.json` and a folder for each.

use modelfiles::recipe::Pooling;
use serde_json::Value;

use super::{PoolingStep, Step, optional, read};
use crate::{Error, Files, plan::Activation, settings::Settings};

/// One entry of `modules.json`.
pub(super) struct Module {
    /// The last part of its type.
    pub(super) kind: String,
    /// Where its files lie: empty, or a folder with its slash.
    pub(super) folder: String,
}

/// Returns the modules in order; none when the repository has no `modules.json`.
pub(super) fn read_all(files: &Files) -> Result<Vec<Module>, Error> {
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
            let path = path.trim_start_matches("./").trim_matches('/');
            let path = if path == "." { "" } else { path };
            let folder = if path.is_empty() { String::new() } else { format!("{path}/") };
            Ok(Module { kind, folder })
        })
        .collect()
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
pub(super) fn dense(files: &Files, folder: &str) -> Result<Step, Error> {
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
        stem: "linear".to_owned(),
        inputs: settings.size(&["in_features"], most)?,
        outputs: settings.size(&["out_features"], most)?,
        bias: settings.get(&["bias"]) != Some(&Value::Bool(false)),
        activation,
    })
}
