//! How `show` describes a model.

use modelfiles::human;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::table;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What fits on a screen.
    Summary,
    /// All metadata and every tensor too.
    Everything,
}

/// A model as the service shows it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Model {
    /// The licence texts.
    pub(crate) license: String,
    /// The Modelfile that would make this model again.
    pub(crate) modelfile: String,
    /// One parameter per line.
    pub(crate) parameters: String,
    /// The prompt template.
    pub(crate) template: String,
    /// The system message.
    pub(crate) system: String,
    details: Details,
    model_info: Option<Map<String, Value>>,
    projector_info: Option<Map<String, Value>>,
    capabilities: Option<Vec<String>>,
    tensors: Option<Vec<Tensor>>,
    requires: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    family: String,
    parameter_size: String,
    quantization_level: String,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    shape: Vec<u64>,
}

type Row = Vec<String>;

/// How many lines of a long text a summary shows.
const HEAD_LINES: usize = 2;

/// Prints the sections that the model has, each followed by an empty line.
pub(crate) fn render(model: &Model, detail: Detail) -> String {
    let capabilities = model.capabilities.iter().flatten().map(|name| vec![name.clone()]);
    let mut sections = vec![
        ("Model", overview(model)),
        ("Capabilities", capabilities.collect()),
        ("Projector", projector(model)),
        ("Prompts", prompts(model)),
        ("Parameters", parameters(&model.parameters)),
    ];
    if detail == Detail::Everything {
        sections.push(("Metadata", metadata(model)));
        sections.push(("Tensors", model.tensors.iter().flatten().map(tensor).collect()));
    }
    sections.push(("System", head(&model.system)));
    sections.push(("License", head(&model.license)));
    sections.iter().filter(|(_, rows)| !rows.is_empty()).map(section).collect()
}

fn section((title, rows): &(&str, Vec<Row>)) -> String {
    format!("  {title}\n{}\n", table::indented(rows))
}

fn overview(model: &Model) -> Vec<Row> {
    let details = &model.details;
    let architecture = text(model, "general.architecture").unwrap_or(details.family.clone());
    let lengths = |name| number(model, &format!("{architecture}.{name}"));
    let parameters = match details.parameter_size.is_empty() {
        true => number(model, "general.parameter_count").map(human::number),
        false => Some(details.parameter_size.clone()),
    };
    let row = |(name, value): (&str, Option<String>)| Some(vec![name.to_owned(), value?]);
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    [
        ("architecture", some(&architecture)),
        ("parameters", parameters),
        ("context length", lengths("context_length").map(|n| n.to_string())),
        ("embedding length", lengths("embedding_length").map(|n| n.to_string())),
        ("quantization", some(&details.quantization_level)),
        // How the weights are stored is one thing, what they are computed with another.
        ("precision", text(model, "vecuna.precision")),
        ("memory", memory(model)),
        ("pooling", text(model, "vecuna.pooling")),
        ("outputs", text(model, "vecuna.outputs")),
        ("reads", number(model, "vecuna.max_tokens").map(|n| format!("{n} tokens"))),
        ("requires", some(&model.requires)),
    ]
    .into_iter()
    .filter_map(row)
    .collect()
}

fn text(model: &Model, key: &str) -> Option<String> {
    let value = model.model_info.as_ref()?.get(key)?.as_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}

fn number(model: &Model, key: &str) -> Option<u64> {
    let value = model.model_info.as_ref()?.get(key)?;
    value.as_u64().or_else(|| value.to_string().strip_suffix(".0")?.parse().ok())
}

/// Tells what a loaded model holds at each precision.
fn memory(model: &Model) -> Option<String> {
    let at = |precision: &str| {
        let bytes = number(model, &format!("vecuna.memory_bytes.{precision}"))?;
        Some(format!("{} {precision}", human::bytes(bytes)))
    };
    let all: Vec<String> = ["f32", "bf16", "int8"].into_iter().filter_map(at).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Tells what stands before texts: by name, and before those of which nothing is said.
fn prompts(model: &Model) -> Vec<Row> {
    let info = model.model_info.iter().flatten();
    let prompt = |(key, value): (&String, &Value)| {
        let name = key.strip_prefix("vecuna.prompt")?;
        let name = if name.is_empty() { "(default)" } else { name.strip_prefix('.')? };
        Some(vec![name.to_owned(), human::quoted(value.as_str()?)])
    };
    info.filter_map(prompt).collect()
}

fn projector(model: &Model) -> Vec<Row> {
    let info = model.projector_info.iter().flatten();
    info.map(|(key, value)| vec![key.clone(), brief(value)]).collect()
}

fn parameters(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| match line.split_once(char::is_whitespace) {
            // The blanks in a value, such as those of a prompt, are part of it.
            Some((name, value)) => vec![name.to_owned(), value.trim_start().to_owned()],
            None => vec![line.to_owned()],
        })
        .collect()
}

fn metadata(model: &Model) -> Vec<Row> {
    let mut rows: Vec<Row> = model
        .model_info
        .iter()
        .flatten()
        .map(|(key, value)| vec![key.clone(), brief(value)])
        .collect();
    rows.sort();
    rows
}

/// Returns the value; of a list only what fits into a column.
fn brief(value: &Value) -> String {
    const SHOWN_CHARS: usize = 10;
    let items = match value {
        Value::String(text) => return text.clone(),
        Value::Array(items) => items,
        other => return other.to_string(),
    };
    let mut shown = String::new();
    for (n, item) in items.iter().enumerate() {
        let separator = if n == 0 { "" } else { ", " };
        let next = format!("{separator}{}", brief(item));
        if n > 0 && shown.len() + next.len() >= SHOWN_CHARS {
            return format!("[{shown}, ...+{} more]", items.len() - n);
        }
        shown.push_str(&next);
    }
    format!("[{shown}]")
}

fn tensor(tensor: &Tensor) -> Row {
    let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
    vec![tensor.name.clone(), tensor.kind.clone(), format!("[{}]", shape.join(" "))]
}

fn head(text: &str) -> Vec<Row> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut rows: Vec<Row> = lines.by_ref().take(HEAD_LINES).map(|l| vec![l.to_owned()]).collect();
    if lines.next().is_some() {
        rows.push(vec!["...".to_owned()]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{
        "license":"\n     Apache License\n   Version 2.0, January 2004\n\n http\n",
        "parameters":"num_ctx                        256\n",
        "details":{"family":"bert","parameter_size":"22.57M","quantization_level":"unknown"},
        "model_info":{"general.architecture":"bert","bert.context_length":512,
            "bert.embedding_length":384,"tokens":[101,102,103,104],"general.file_type":null},
        "tensors":[{"name":"norm","type":"F32","shape":[2,384]}],
        "capabilities":["embedding"]}"#;

    fn sample(detail: Detail) -> String {
        render(&serde_json::from_str(SAMPLE).expect("sample"), detail).replace(' ', "·")
    }

    #[test]
    fn the_summary_is_byte_exact() {
        let want = "\
··Model
····architecture········bert·······
····parameters··········22.57M·····
····context·length······512········
····embedding·length····384········
····quantization········unknown····

··Capabilities
····embedding····

··Parameters
····num_ctx····256····

··License
····Apache·License···············
····Version·2.0,·January·2004····
····...··························

";
        assert_eq!(sample(Detail::Summary), want);
    }

    #[test]
    fn everything_adds_metadata_and_tensors() {
        let text = sample(Detail::Everything);
        assert!(text.contains("··Metadata\n····bert.context_length······512"), "{text}");
        assert!(text.contains("[101,·102,·...+2·more]····\n"), "{text}");
        assert!(text.contains("··Tensors\n····norm····F32····[2·384]····\n"), "{text}");
    }

    #[test]
    fn a_prompt_keeps_its_blanks() {
        let text = "num_ctx    256\nquery_prompt    \"find  this: \"\n\n";
        let want = [["num_ctx", "256"], ["query_prompt", "\"find  this: \""]];
        assert_eq!(parameters(text), want);
    }

    #[test]
    fn the_count_stands_in_for_a_missing_size() {
        let model = r#"{"model_info":{"general.parameter_count":22713216}}"#;
        let model: Model = serde_json::from_str(model).expect("model");
        assert_eq!(render(&model, Detail::Summary), "  Model\n    parameters    22.71M    \n\n");
    }
}
