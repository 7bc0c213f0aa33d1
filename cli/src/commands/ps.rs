//! `vecuna ps`: which models are in memory.

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
struct Running {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    size_vram: u64,
    #[serde(default)]
    context_length: u64,
    #[serde(default)]
    expires_at: String,
}

/// Prints the table.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let running: Running = Client::connect().await?.get("/api/ps").await?;
    let prefix = arguments.prefix.unwrap_or_default();
    output::text(&render(&running, &prefix, SystemTime::now()))
}

fn render(running: &Running, prefix: &str, now: SystemTime) -> String {
    let wanted = running.models.iter().filter(|model| model.name.starts_with(prefix));
    let rows: Vec<[String; 6]> = wanted.map(|model| row(model, now)).collect();
    table::with_header(["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"], &rows)
}

fn row(model: &Model, now: SystemTime) -> [String; 6] {
    let until = match moment::is_past(&model.expires_at, now) {
        true => "Stopping...".to_owned(),
        false => moment::relative(&model.expires_at, now),
    };
    [
        model.name.clone(),
        model.digest.chars().take(12).collect(),
        human::bytes(model.size),
        processor(model.size, model.size_vram),
        model.context_length.to_string(),
        until,
    ]
}

fn processor(size: u64, size_vram: u64) -> String {
    match (size, size_vram) {
        (_, 0) => "100% CPU".to_owned(),
        (size, vram) if size == vram => "100% GPU".to_owned(),
        (size, vram) if size < vram => "Unknown".to_owned(),
        (size, vram) => {
            let cpu = rounded_percent(size - vram, size);
            format!("{cpu}%/{}% CPU/GPU", 100 - cpu)
        }
    }
}

fn rounded_percent(part: u64, whole: u64) -> u64 {
    let (part, whole) = (u128::from(part), u128::from(whole));
    u64::try_from((part * 100 + whole / 2) / whole).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_table_is_byte_exact() {
        let sample = r#"{"models":[{"name":"all-minilm:latest","size":57000000,
            "size_vram":57000000,"digest":"1b226e2802dbffff","context_length":256,
            "expires_at":"2026-08-21T16:16:50Z"}]}"#;
        let running: Running = serde_json::from_str(sample).expect("sample");
        let now = UNIX_EPOCH + Duration::from_secs(1_787_328_711);
        let want = "\
NAME                 ID              SIZE     PROCESSOR    CONTEXT    UNTIL              
all-minilm:latest    1b226e2802db    57 MB    100% GPU     256        4 minutes from now    
";
        assert_eq!(render(&running, "all", now), want);
        assert_eq!(render(&running, "ALL", now).lines().count(), 1);
        let late = now + Duration::from_secs(600);
        assert!(render(&running, "", late).contains("    Stopping...    \n"));
    }

    #[test]
    fn the_processor_column() {
        for (size, vram, want) in [
            (100, 0, "100% CPU"),
            (0, 0, "100% CPU"),
            (100, 100, "100% GPU"),
            (100, 101, "Unknown"),
            (0, 1, "Unknown"),
            (100, 52, "48%/52% CPU/GPU"),
            (1000, 995, "1%/99% CPU/GPU"),
        ] {
            assert_eq!(processor(size, vram), want, "{vram} of {size}");
        }
    }
}
