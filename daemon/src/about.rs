//! What is known of a model's files without loading them, in the words of Ollama's description blob and of GGUF keys.

use engine::{Description, Files, Processor};
use modelfiles::{Pooling, Recipe, human};
use registry::GGUF_PATH;
use serde_json::{Map, Value, json};

/// Describes files for the manifest that is about to name them. A repository whose architecture cannot run yet can be
/// stored all the same; a GGUF file, or one whose files make no sense, cannot.
pub(crate) fn describe(
    files: &Files,
    recipe: &Recipe,
    processor: &Processor,
) -> Result<Value, engine::Error> {
    let (family, more) = match engine::describe(files, recipe, processor) {
        Ok(description) => (description.plan.architecture.clone(), known(&description)),
        Err(engine::Error::Unsupported(_)) if !files.contains_key(GGUF_PATH) => {
            (model_type(files), json!({}))
        }
        Err(error) => return Err(error),
    };
    let mut about = json!({
        "model_format": "safetensors",
        "model_family": family,
        "model_families": [family],
        "capabilities": ["embedding"],
    });
    for source in [more, json!({ "architecture": "amd64", "os": "linux" })] {
        if let (Value::Object(about), Value::Object(source)) = (&mut about, source) {
            about.extend(source);
        }
    }
    Ok(about)
}

fn known(description: &Description) -> Value {
    let capability = if description.scoring.is_some() { "reranking" } else { "embedding" };
    let vision = description.images.then_some("vision");
    let capabilities: Vec<&str> = [capability].into_iter().chain(vision).collect();
    json!({
        "model_format": description.format,
        "capabilities": capabilities,
        "model_type": human::number(description.parameters),
        "file_type": description.stored_as,
        "context_length": description.plan.context_length(),
        "embedding_length": description.dimensions,
    })
}

fn model_type(files: &Files) -> String {
    let read = |path| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok();
    let config = files.get("config.json").or_else(|| files.get("0_Transformer/config.json"));
    let config = config.and_then(read).unwrap_or_default();
    config["model_type"].as_str().unwrap_or("unknown").to_owned()
}

/// Returns what `/api/show` tells under `model_info`.
pub(crate) fn model_info(description: &Description) -> Map<String, Value> {
    let plan = &description.plan;
    let family = &plan.architecture;
    let pooling: Vec<String> = description.pooling.iter().map(ToString::to_string).collect();
    let mut info = Map::new();
    let mut put = |key: String, value: Value| drop(info.insert(key, value));
    put("general.architecture".to_owned(), json!(family));
    put("general.parameter_count".to_owned(), json!(description.parameters));
    for (key, value) in [
        ("attention.head_count", json!(plan.heads)),
        ("attention.layer_norm_epsilon", json!(plan.epsilon)),
        ("block_count", json!(plan.layers)),
        ("context_length", json!(plan.context_length())),
        ("embedding_length", json!(description.dimensions)),
        ("feed_forward_length", json!(plan.inner)),
        ("pooling_type", json!(pooling_type(&description.pooling))),
        ("vocab_size", json!(plan.vocabulary)),
    ] {
        put(format!("{family}.{key}"), value);
    }
    put("vecuna.max_tokens".to_owned(), json!(description.max_tokens));
    put("vecuna.memory_bytes".to_owned(), json!(description.memory_bytes));
    for (precision, bytes) in &description.memory_at {
        put(format!("vecuna.memory_bytes.{precision}"), json!(bytes));
    }
    put("vecuna.normalize".to_owned(), json!(description.normalizes));
    if description.scoring.is_none() {
        let outputs: Vec<&str> = description.outputs.names().collect();
        put("vecuna.outputs".to_owned(), json!(outputs.join(", ")));
    }
    put("vecuna.pooling".to_owned(), json!(pooling.join("+")));
    put("vecuna.precision".to_owned(), json!(description.precision.to_string()));
    if let Some(prompt) = &description.default_prompt {
        put("vecuna.prompt".to_owned(), json!(prompt));
    }
    for (name, prompt) in &description.prompts {
        put(format!("vecuna.prompt.{name}"), json!(prompt));
    }
    info
}

/// Returns the number that GGUF files give a pooling; 0 for what they have none for.
fn pooling_type(modes: &[Pooling]) -> u32 {
    match modes {
        [Pooling::Mean] => 1,
        [Pooling::Cls] => 2,
        [Pooling::Last] => 3,
        _ => 0,
    }
}
