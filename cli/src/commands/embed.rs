//! `vecuna embed`: files of texts become JSONL with vectors.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::{Client, is_bad_request};
use crate::embedding::{self, Cuts, Request, Wishes};
use crate::sink::Sink;
use crate::texts::{self, Format, Text, Texts};
use crate::{
    images::{self, Wish},
    output, presence,
};

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
    /// Embed these images instead of texts
    #[arg(long = "image", value_name = "FILE", num_args = 1.., conflicts_with = "files")]
    images: Vec<PathBuf>,
    /// Read every file as JSONL
    #[arg(long)]
    jsonl: bool,
    /// The JSONL field that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    field: String,
    /// Write to this file, which appears when all is done, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write each text, too, beside its vector; other fields of JSONL are always written
    #[arg(long)]
    with_text: bool,
    /// Cut the vectors to this many numbers
    #[arg(long, value_name = "N")]
    dimensions: Option<i64>,
    #[command(flatten)]
    wishes: Wishes,
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
    if !arguments.images.is_empty() {
        return embed_images(&client, &arguments).await;
    }
    if io::stdin().is_terminal() && arguments.files.iter().any(|file| file.as_os_str() == "-") {
        output::note("note: reading lines from the keyboard until Ctrl-D");
    }
    let mut job = Job {
        bar: bar(&arguments),
        sink: Sink::open(arguments.output.as_deref())?,
        client,
        arguments: &arguments,
        done: 0,
        read: (0, 0),
        cuts: Cuts::default(),
    };
    for file in &arguments.files {
        job.embed(&mut Texts::open(file, arguments.format(file))?).await?;
    }
    job.bar.finish();
    job.sink.finish()?;
    job.cuts.note().iter().for_each(|note| output::note(note));
    Ok(())
}

/// Embeds all images in order.
async fn embed_images(client: &Client, arguments: &Arguments) -> Result<()> {
    let mut sink = Sink::open(arguments.output.as_deref())?;
    let wish = Wish {
        model: &arguments.model,
        dimensions: arguments.dimensions,
        keep_alive: arguments.keepalive.as_deref(),
    };
    images::embed(client, &arguments.images, wish, &mut sink).await?;
    sink.finish()
}

impl Arguments {
    fn format(&self, file: &Path) -> Format {
        match self.jsonl || texts::is_jsonl(file) {
            true => Format::Json(self.field.clone()),
            false => Format::Lines,
        }
    }

    fn request<'a>(&'a self, batch: &'a [Text]) -> Request<'a> {
        Request {
            model: &self.model,
            input: batch.iter().map(|text| text.text.as_str()).collect(),
            truncate: self.no_truncate.then_some(false),
            dimensions: self.dimensions,
            keep_alive: self.keepalive.as_deref(),
            wishes: Some(&self.wishes),
        }
    }
}

/// A command half way through its texts.
struct Job<'a> {
    arguments: &'a Arguments,
    client: Client,
    sink: Sink,
    bar: ProgressBar,
    done: usize,
    /// The lines and bytes of the files that are done.
    read: (u64, u64),
    cuts: Cuts,
}

impl Job<'_> {
    async fn embed(&mut self, texts: &mut Texts) -> Result<()> {
        let (lines, bytes) = self.read;
        loop {
            let batch = batch(texts)?;
            if batch.is_empty() {
                self.read = (lines + texts.lines(), bytes + texts.read_bytes());
                return Ok(());
            }
            self.embed_batch(&batch, texts).await?;
            self.bar.set_position(bytes + texts.read_bytes());
            self.bar.set_message(format!("{} texts", self.done));
        }
    }

    async fn embed_batch(&mut self, batch: &[Text], texts: &Texts) -> Result<()> {
        let answer = match self.arguments.request(batch).send(&self.client).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.explain(error, batch, texts).await),
        };
        let rows =
            answer.rows(batch.len(), &self.arguments.wishes).context("the answer lacks vectors")?;
        let field = self.arguments.with_text.then(|| texts.field());
        let lines = rows.iter().map(|row| {
            let text = &batch[row.text];
            let index = self.read.0 + text.line - 1;
            text.with_vector(index, field, row)
        });
        self.sink.write(&lines.collect::<String>())?;
        self.done += batch.len();
        self.cuts.add(&answer);
        Ok(())
    }

    /// Tells at which text it went wrong, or how many had gone well.
    async fn explain(&self, error: Error, batch: &[Text], texts: &Texts) -> Error {
        if self.arguments.no_truncate && is_bad_request(&error) {
            // The same texts once more, to be told which of them are cut.
            let request = Request { truncate: Some(true), ..self.arguments.request(batch) };
            let answer = request.send(&self.client).await.ok();
            if let Some(text) = answer.and_then(|answer| batch.get(answer.first_cut()?)) {
                return error.context(texts.place(text.line));
            }
        }
        if self.done == 0 { error } else { error.context(format!("after {} texts", self.done)) }
    }
}

fn batch(texts: &mut Texts) -> Result<Vec<Text>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH_TEXTS && bytes < BATCH_BYTES {
        let Some(text) = texts.next()? else { break };
        bytes += text.text.len();
        batch.push(text);
    }
    Ok(batch)
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
    fn the_templates_are_valid() {
        drop((style(BAR), style(COUNTER)));
    }
}
