//! Which texts stand in files of lines or JSONL.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A longer line is a file without lines, and a model reads a ten-thousandth of it.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// How a file says what its texts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each line is a text.
    Lines,
    /// Each line is a JSON object with the text in this field.
    Json(String),
}

/// The texts of one file, read as they are wanted.
pub(crate) struct Texts {
    name: String,
    reader: Box<dyn BufRead>,
    format: Format,
    line: u64,
    read_bytes: u64,
}

impl Texts {
    /// Opens the file; `-` is standard input.
    pub(crate) fn open(path: &Path, format: Format) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::new("standard input", Box::new(io::stdin().lock()), format));
        }
        let file = File::open(path).with_context(|| format!("cannot open '{}'", path.display()))?;
        Ok(Self::new(&path.display().to_string(), Box::new(BufReader::new(file)), format))
    }

    fn new(name: &str, reader: Box<dyn BufRead>, format: Format) -> Self {
        Self { name: name.to_owned(), reader, format, line: 0, read_bytes: 0 }
    }

    /// Returns how much of the file has been read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Returns the next text; `None` at the end, an error that names the line when it is bad.
    pub(crate) fn next(&mut self) -> Result<Option<String>> {
        while let Some(line) = self.line().with_context(|| self.place())? {
            let text = match &self.format {
                Format::Lines => Some(line),
                Format::Json(_) if line.trim().is_empty() => None,
                Format::Json(field) => Some(text_of(&line, field).with_context(|| self.place())?),
            };
            if text.is_some() {
                return Ok(text);
            }
        }
        Ok(None)
    }

    fn place(&self) -> String {
        format!("{} line {}", self.name, self.line)
    }

    fn line(&mut self) -> Result<Option<String>> {
        self.line += 1;
        let mut bytes = Vec::new();
        let mut reader = (&mut self.reader).take(MAX_LINE_BYTES + 1);
        let read = reader.read_until(b'\n', &mut bytes)? as u64;
        ensure!(read <= MAX_LINE_BYTES, "longer than {MAX_LINE_BYTES} bytes");
        self.read_bytes += read;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Ok(Some(String::from_utf8(bytes).context("not UTF-8")?))
    }
}

fn text_of(line: &str, field: &str) -> Result<String> {
    let value: Value = serde_json::from_str(line).context("not JSON")?;
    match value.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => anyhow::bail!("field '{field}' is not a text"),
        None => anyhow::bail!("no field '{field}'"),
    }
}

/// Says whether a file's name promises JSONL.
pub(crate) fn is_jsonl(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl" || extension == "ndjson")
}

/// Adds up the sizes of the files; `None` when one of them, such as a pipe, does not tell.
pub(crate) fn total_bytes(paths: &[PathBuf]) -> Option<u64> {
    let size = |path: &PathBuf| {
        let metadata = path.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    };
    paths.iter().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(content: &'static [u8], format: Format) -> Result<Vec<String>> {
        let mut texts = Texts::new("x", Box::new(content), format);
        std::iter::from_fn(|| texts.next().transpose()).collect()
    }

    fn json() -> Format {
        Format::Json("text".to_owned())
    }

    #[test]
    fn every_line_is_a_text_even_an_empty_one() {
        let got = all(b"one\r\n\ntwo", Format::Lines).expect("lines");
        assert_eq!(got, ["one", "", "two"]);
        assert!(all(b"", Format::Lines).expect("nothing").is_empty());
    }

    #[test]
    fn json_lines_hold_a_field() {
        let got =
            all(b"{\"text\":\"a\\nb\",\"id\":1}\n\n{\"text\":\"\"}\n", json()).expect("texts");
        assert_eq!(got, ["a\nb", ""]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (content, want) in [
            (&b"{\"text\":\"a\"}\nnope\n"[..], "x line 2: not JSON"),
            (b"{\"txt\":\"a\"}\n", "x line 1: no field 'text'"),
            (b"\n{\"text\":5}\n", "x line 2: field 'text' is not a text"),
            (b"\xff\n", "x line 1: not UTF-8"),
        ] {
            let error = all(content, json()).expect_err("bad");
            assert!(format!("{error:#}").starts_with(want), "{error:#}");
        }
    }

    #[test]
    fn names_promise_a_format() {
        assert!(is_jsonl(Path::new("a.jsonl")) && is_jsonl(Path::new("b.ndjson")));
        assert!(!is_jsonl(Path::new("a.txt")) && !is_jsonl(Path::new("-")));
    }
}
