//! `vecuna embed`: files of texts become JSONL with vectors.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::Client;
use crate::embedding::{self, Cuts, Request};
use crate::texts::{self, Format, Texts};
use crate::{output, presence};

/// Enough texts to keep the service busy, few enough to show how it goes.
const BATCH_TEXTS: usize = 64;

/// Long texts make smaller batches, far below what the service accepts.
const BATCH_BYTES: usize = 1024 * 1024;

const BAR: &str = "{percent:>3}% ▕{wide_bar}▏ {msg} {eta:>5}";
const COUNTER: &str = "{spinner} {msg}";

/// Which texts, which model, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The model to use; it is fetched when it is not there
    model: String,
    /// Files with a text per line, or JSONL when they are called .jsonl; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
    /// Read every file as JSONL
    #[arg(long)]
    jsonl: bool,
    /// The JSONL field that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    field: String,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write each text beside its vector
    #[arg(long)]
    with_text: bool,
    /// Cut the vectors to this many numbers
    #[arg(long, value_name = "N")]
    dimensions: Option<i64>,
    /// Refuse a text that is too long instead of cutting it
    #[arg(long)]
    no_truncate: bool,
    /// How long the model stays in memory, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = embedding::keep_alive)]
    keepalive: Option<String>,
    /// Let the registry be spoken to without encryption
    #[arg(long)]
    insecure: bool,
}

/// Embeds all texts of all files in order.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client::connect().await?;
    presence::ensure(&client, &arguments.model, arguments.insecure.into()).await?;
    let mut job = Job {
        bar: bar(&arguments),
        sink: sink(arguments.output.as_deref())?,
        client,
        arguments: &arguments,
        done: 0,
        cuts: Cuts::default(),
    };
    let mut bytes_before = 0;
    for file in &arguments.files {
        let mut texts = Texts::open(file, arguments.format(file))?;
        job.embed(&mut texts, bytes_before).await?;
        bytes_before += texts.read_bytes();
    }
    job.bar.finish();
    job.cuts.note().iter().for_each(|note| output::note(note));
    Ok(())
}

impl Arguments {
    fn format(&self, file: &Path) -> Format {
        match self.jsonl || texts::is_jsonl(file) {
            true => Format::Json(self.field.clone()),
            false => Format::Lines,
        }
    }

    fn request<'a>(&'a self, input: &'a [String]) -> Request<'a> {
        Request {
            model: &self.model,
            input,
            truncate: self.no_truncate.then_some(false),
            dimensions: self.dimensions,
            keep_alive: self.keepalive.as_deref(),
        }
    }
}

/// A command half way through its texts.
struct Job<'a> {
    arguments: &'a Arguments,
    client: Client,
    sink: Box<dyn Write>,
    bar: ProgressBar,
    done: usize,
    cuts: Cuts,
}

impl Job<'_> {
    async fn embed(&mut self, texts: &mut Texts, bytes_before: u64) -> Result<()> {
        loop {
            let batch = batch(texts)?;
            if batch.is_empty() {
                return Ok(());
            }
            self.embed_batch(&batch).await?;
            self.bar.set_position(bytes_before + texts.read_bytes());
            self.bar.set_message(format!("{} texts", self.done));
        }
    }

    async fn embed_batch(&mut self, batch: &[String]) -> Result<()> {
        let answer = self.arguments.request(batch).send(&self.client).await?;
        let vectors = answer.vectors();
        ensure!(vectors.len() == batch.len(), "the answer lacks vectors");
        for (text, vector) in batch.iter().zip(vectors) {
            let text = self.arguments.with_text.then_some(text.as_str());
            let line = line(self.done, text, &vector);
            output::checked(self.sink.write_all(line.as_bytes()))?;
            self.done += 1;
        }
        self.cuts.add(&answer);
        output::checked(self.sink.flush())
    }
}

fn batch(texts: &mut Texts) -> Result<Vec<String>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH_TEXTS && bytes < BATCH_BYTES {
        let Some(text) = texts.next()? else { break };
        bytes += text.len();
        batch.push(text);
    }
    Ok(batch)
}

fn line(index: usize, text: Option<&str>, vector: &str) -> String {
    let text = text.map(|text| format!("\"text\":{},", serde_json::Value::from(text)));
    format!("{{\"index\":{index},{}\"embedding\":{vector}}}\n", text.unwrap_or_default())
}

fn sink(path: Option<&Path>) -> Result<Box<dyn Write>> {
    let Some(path) = path else { return Ok(Box::new(BufWriter::new(io::stdout()))) };
    let file = File::create(path).with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// Returns a bar on standard error, unless nobody would see it or it would stand among the vectors.
fn bar(arguments: &Arguments) -> ProgressBar {
    if !io::stderr().is_terminal() || (arguments.output.is_none() && io::stdout().is_terminal()) {
        return ProgressBar::hidden();
    }
    let (bar, template) = match texts::total_bytes(&arguments.files) {
        Some(total) => (ProgressBar::new(total), BAR),
        None => (ProgressBar::new_spinner(), COUNTER),
    };
    bar.with_style(style(template))
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is constant");
    style.progress_chars("██ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json() {
        assert_eq!(line(3, None, "[0.5]"), "{\"index\":3,\"embedding\":[0.5]}\n");
        let want = "{\"index\":0,\"text\":\"a \\\"b\\\"\",\"embedding\":[]}\n";
        assert_eq!(line(0, Some("a \"b\""), "[]"), want);
    }

    #[test]
    fn the_templates_are_valid() {
        drop((style(BAR), style(COUNTER)));
    }
}
