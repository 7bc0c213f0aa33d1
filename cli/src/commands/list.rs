//! `vecuna list`: which models are on this machine.

use std::time::SystemTime;

use anyhow::Result;
use modelfiles::human;
use serde::Deserialize;

use crate::client::Client;
use crate::{moment, output, table};

/// Which models are listed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// List only models whose name begins like this
    prefix: Option<String>,
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    modified_at: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    remote_model: String,
}

/// Prints the table.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let tags: Tags = Client::connect().await?.get("/api/tags").await?;
    let prefix = arguments.prefix.unwrap_or_default();
    output::text(&render(&tags, &prefix, SystemTime::now()))
}

fn render(tags: &Tags, prefix: &str, now: SystemTime) -> String {
    let prefix = prefix.to_lowercase();
    let wanted = tags.models.iter().filter(|m| m.name.to_lowercase().starts_with(&prefix));
    let rows: Vec<[String; 4]> = wanted.map(|model| row(model, now)).collect();
    table::with_header(["NAME", "ID", "SIZE", "MODIFIED"], &rows)
}

fn row(model: &Model, now: SystemTime) -> [String; 4] {
    let size = match model.remote_model.is_empty() {
        true => human::bytes(model.size),
        false => "-".to_owned(),
    };
    let id = model.digest.chars().take(12).collect();
    [model.name.clone(), id, size, moment::relative(&model.modified_at, now)]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// Ollama's own sample: a model of a day ago and one of two days ago.
    const SAMPLE: &str = r#"{"models":[
        {"name":"model1","size":1024,"digest":"sha256:abc123","modified_at":"2026-08-20T16:11:51Z"},
        {"name":"Model2","size":2048,"digest":"sha256:def456","modified_at":"2026-08-19T16:11:51Z"}
    ]}"#;

    fn sample(prefix: &str) -> String {
        let tags = serde_json::from_str(SAMPLE).expect("sample");
        let now = UNIX_EPOCH + Duration::from_secs(1_787_328_711);
        render(&tags, prefix, now).replace(' ', "·")
    }

    #[test]
    fn the_table_is_byte_exact() {
        let want = "\
NAME······ID··············SIZE······MODIFIED·····
model1····sha256:abc12····1.0·KB····24·hours·ago····
Model2····sha256:def45····2.0·KB····2·days·ago······
";
        assert_eq!(sample(""), want);
    }

    #[test]
    fn a_prefix_ignores_case() {
        assert_eq!(sample("MODEL2").lines().count(), 2);
        assert!(sample("mODEL2").contains("Model2"));
        assert_eq!(sample("none").lines().count(), 1);
    }
}
