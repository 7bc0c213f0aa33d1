//! Jina embeddings v3 as it lies on the hub: every matrix has a pair of small ones for each task.

use serde_json::Value;

use super::{Architecture, bert, jina3, turned};
use crate::{
    Error, Plan,
    plan::{Adapters, Positions},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["xlm-roberta"],
    own_code: &["xlm-roberta-flash-implementation--modeling_lora.XLMRobertaLoRA"],
    plan,
    stem: jina3::stem,
    ..Architecture::NONE
};

/// Tasks that a model may have; each costs a little of every product.
const MOST_TASKS: usize = 64;

fn plan(config: &Settings) -> Result<Plan, Error> {
    let refuse = |what: &str| Err(Error::Unsupported(format!("{what} cannot run in this version")));
    match config.text(&["position_embedding_type"]).unwrap_or("absolute") {
        "rotary" => {}
        other => return refuse(&format!("position embedding '{other}'")),
    }
    if config.flag(&["use_reg_tokens"]) {
        return refuse("'use_reg_tokens'");
    }
    let plan = bert::base(config)?;
    let positions = Positions::Rotary {
        frequencies: turned(config, "rotary_emb_base", plan.head_size)?,
        near: None,
        context: plan.context_length(),
    };
    let epsilon = config.positive(&["layer_norm_eps"], 1e-5)?;
    Ok(Plan { positions, epsilon, adapters: Some(adapters(config)?), ..plan })
}

fn adapters(config: &Settings) -> Result<Adapters, Error> {
    let names = config.get(&["lora_adaptations"]).and_then(Value::as_array);
    let names = names.filter(|names| (1..=MOST_TASKS).contains(&names.len()));
    let names = names.ok_or_else(|| config.error("'lora_adaptations' is no list of tasks"))?;
    let prompts = config.get(&["task_instructions"]);
    let task = |name: &Value| {
        let name = name.as_str().ok_or_else(|| config.error("a task has no name"))?;
        let prompt = prompts.and_then(|prompts| prompts.get(name)).and_then(Value::as_str);
        Ok::<_, Error>((name.to_owned(), prompt.unwrap_or_default().to_owned()))
    };
    let rank = config.size_or(&["lora_rank"], 4, 1 << 10)?;
    let scale = (config.positive(&["lora_alpha"], 1.0)? / rank as f64) as f32;
    Ok(Adapters { tasks: names.iter().map(task).collect::<Result<_, _>>()?, rank, scale })
}
