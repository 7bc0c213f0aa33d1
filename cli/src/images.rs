//! How do image files become vectors? In small requests, each file a line of JSON.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use serde::Serialize;
use serde_json::json;

use crate::client::Client;
use crate::embedding::Answer;
use crate::sink::Sink;

/// Images of a request: enough to keep the service busy.
const BATCH_IMAGES: usize = 16;
/// Bytes of the files of a request, unless a single one has more: far below what the service accepts.
const BATCH_BYTES: usize = 16 << 20;
/// The service accepts no larger bodies unless it is told to, and no such image either.
const MOST_BYTES: u64 = 90 << 20;

/// What is asked for beside the images.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Wish<'a> {
    /// The model to use.
    pub(crate) model: &'a str,
    /// How many numbers a vector is cut to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dimensions: Option<i64>,
    /// How long the model stays in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_alive: Option<&'a str>,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(flatten)]
    wish: Wish<'a>,
    images: &'a [String],
}

/// Embeds the files in their order.
pub(crate) async fn embed(
    client: &Client,
    files: &[PathBuf],
    wish: Wish<'_>,
    sink: &mut Sink,
) -> Result<()> {
    let (mut images, mut bytes, mut done) = (Vec::new(), 0, 0);
    for (i, file) in files.iter().enumerate() {
        let image = read(file)?;
        bytes += image.len();
        images.push(STANDARD.encode(image));
        if images.len() == BATCH_IMAGES || bytes >= BATCH_BYTES || i + 1 == files.len() {
            let names = &files[done..=i];
            let request = Request { wish, images: &images };
            let answer: Answer = client
                .ask(Method::POST, "/api/embed", &request)
                .await
                .with_context(|| place(names))?;
            let vectors = answer.vectors();
            ensure!(vectors.len() == names.len(), "the answer lacks vectors");
            let lines = vectors.zip(names).zip(done..);
            let lines = lines.map(|((vector, name), index)| line(index, name, &vector));
            sink.write(&lines.collect::<String>())?;
            images.clear();
            (bytes, done) = (0, i + 1);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let problem = || format!("cannot read '{}'", file.display());
    let size = fs::metadata(file).with_context(problem)?.len();
    ensure!(size <= MOST_BYTES, "'{}' has {size} bytes, at most {MOST_BYTES}", file.display());
    fs::read(file).with_context(problem)
}

/// Says which files a request was about.
fn place(files: &[PathBuf]) -> String {
    match files {
        [file] => format!("'{}'", file.display()),
        [first, .., last] => format!("'{}' to '{}'", first.display(), last.display()),
        [] => String::new(),
    }
}

/// Returns the line of one image.
fn line(index: usize, file: &Path, vector: &str) -> String {
    let name = json!(file.display().to_string());
    format!("{{\"index\":{index},\"image\":{name},\"embedding\":{vector}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_file() {
        let want = "{\"index\":3,\"image\":\"a \\\"b\\\".png\",\"embedding\":[0.5]}\n";
        assert_eq!(line(3, Path::new("a \"b\".png"), "[0.5]"), want);
    }

    #[test]
    fn only_what_was_said_is_sent() {
        let wish = Wish { model: "m", dimensions: None, keep_alive: Some("5m") };
        let request = Request { wish, images: &["aGk=".to_owned()] };
        let json = serde_json::to_string(&request).expect("json");
        assert_eq!(json, r#"{"model":"m","keep_alive":"5m","images":["aGk="]}"#);
    }
}
