//! What is told of a model in lists: the `details` object and its neighbours.

use engine::Description;
use modelfiles::human;
use registry::Stored;
use serde::Serialize;
use serde_json::Value;

use crate::{api::time, app::App};

/// The `details` of a model.
#[derive(Serialize)]
pub(super) struct Details {
    parent_model: String,
    format: String,
    pub(super) family: String,
    families: Option<Vec<String>>,
    parameter_size: String,
    quantization_level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_length: Option<u64>,
}

/// An element of `/api/tags`.
#[derive(Serialize)]
pub(super) struct Row {
    name: String,
    model: String,
    modified_at: String,
    size: u64,
    digest: String,
    details: Details,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    capabilities: Vec<String>,
}

impl Row {
    /// Describes a stored model.
    pub(super) fn of(app: &App, stored: &Stored) -> Self {
        let about = app.about(&stored.manifest);
        Self {
            name: stored.name.to_string(),
            model: stored.name.to_string(),
            modified_at: time::rfc3339(stored.modified),
            size: stored.manifest.size_bytes(),
            digest: stored.digest.hex(),
            details: Details::of(&about, stored),
            capabilities: capabilities(&about),
        }
    }
}

impl Details {
    /// Reads the details from the description that was stored with a model.
    pub(super) fn of(about: &Value, stored: &Stored) -> Self {
        let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
        let parent = stored.manifest.layers.iter().find_map(|layer| layer.from.clone());
        Self {
            parent_model: parent.unwrap_or_default(),
            format: text("model_format"),
            family: text("model_family"),
            families: about["model_families"].as_array().map(|list| texts(list)),
            parameter_size: text("model_type"),
            quantization_level: text("file_type"),
            context_length: about["context_length"].as_u64().filter(|n| *n > 0),
            embedding_length: about["embedding_length"].as_u64().filter(|n| *n > 0),
        }
    }

    /// Describes a model in memory, which may be gone from the store.
    pub(super) fn loaded(description: &Description) -> Self {
        let family = &description.plan.architecture;
        Self {
            parent_model: String::new(),
            format: description.format.to_owned(),
            family: family.clone(),
            families: Some(vec![family.clone()]),
            parameter_size: human::number(description.parameters),
            quantization_level: description.stored_as.clone(),
            context_length: None,
            embedding_length: None,
        }
    }

    /// Leaves out the lengths, which `/api/show` does not have here.
    pub(super) fn without_lengths(self) -> Self {
        Self { context_length: None, embedding_length: None, ..self }
    }
}

/// Returns what a model can do.
pub(super) fn capabilities(about: &Value) -> Vec<String> {
    about["capabilities"].as_array().map(|list| texts(list)).unwrap_or_default()
}

fn texts(list: &[Value]) -> Vec<String> {
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
