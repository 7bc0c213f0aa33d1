//! Which texts stand in files of lines or JSONL.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use serde_json::value::RawValue;

use crate::embedding::Row;

/// A longer line is a file without lines, and a model reads a ten-thousandth of it.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// What we write ourselves hides a record's field of the same name.
const OWN_FIELDS: [&str; 6] = ["index", "start", "end", "embedding", "sparse", "multivector"];

/// How a file says what its texts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each line is a text.
    Lines,
    /// Each line is a JSON object with the text in this field.
    Json(String),
}

/// The fields of a record, as they were written.
type Fields = BTreeMap<String, Box<RawValue>>;

/// One text and where it comes from.
#[derive(Debug)]
pub(crate) struct Text {
    /// The text itself.
    pub(crate) text: String,
    /// The number of its line, from 1.
    pub(crate) line: u64,
    /// What else its record holds.
    fields: Fields,
}

/// The texts of one file, read as they are wanted.
pub(crate) struct Texts {
    name: String,
    reader: Box<dyn BufRead>,
    format: Format,
    line: u64,
    read_bytes: u64,
    /// A keyboard would go on after its end.
    ended: bool,
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
        Self { name: name.to_owned(), reader, format, line: 0, read_bytes: 0, ended: false }
    }

    /// Returns how much of the file has been read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Returns the next text; `None` at the end, an error that names the line when it is bad.
    pub(crate) fn next(&mut self) -> Result<Option<Text>> {
        while let Some(line) = self.line().with_context(|| self.place(self.line))? {
            let (text, fields) = match &self.format {
                Format::Lines => (line, Fields::new()),
                Format::Json(_) if line.trim().is_empty() => continue,
                Format::Json(field) => {
                    record(&line, field).with_context(|| self.place(self.line))?
                }
            };
            return Ok(Some(Text { text, line: self.line, fields }));
        }
        Ok(None)
    }

    /// Returns how many lines have been read.
    pub(crate) fn lines(&self) -> u64 {
        self.line
    }

    /// Returns the name of the field that holds a text.
    pub(crate) fn field(&self) -> &str {
        match &self.format {
            Format::Lines => "text",
            Format::Json(field) => field,
        }
    }

    /// Names a line for a person.
    pub(crate) fn place(&self, line: u64) -> String {
        format!("{} line {line}", self.name)
    }

    fn line(&mut self) -> Result<Option<String>> {
        if self.ended {
            return Ok(None);
        }
        self.line += 1;
        let mut bytes = Vec::new();
        let mut reader = (&mut self.reader).take(MAX_LINE_BYTES + 1);
        let read = reader.read_until(b'\n', &mut bytes)? as u64;
        ensure!(read <= MAX_LINE_BYTES, "longer than {MAX_LINE_BYTES} bytes");
        self.read_bytes += read;
        if bytes.is_empty() {
            self.line -= 1;
            self.ended = true;
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let text = String::from_utf8(bytes).context("not UTF-8")?;
        // Some editors mark a file as UTF-8 so; it is no part of its first text.
        let marked = if self.line == 1 { text.strip_prefix('\u{feff}') } else { None };
        Ok(Some(marked.map_or_else(|| text.clone(), str::to_owned)))
    }
}

impl Text {
    /// Returns the JSON line of this text: its number, its record's other fields, the fields of what became of it.
    ///
    /// The text itself is there when its field is named; of a chunk its own part.
    pub(crate) fn with_vector(&self, index: u64, field: Option<&str>, row: &Row) -> String {
        let member = |key: &str, value: &str| format!("{}:{value},", json!(key));
        let part = |(start, end): (usize, usize)| -> String {
            self.text.chars().skip(start).take(end.saturating_sub(start)).collect()
        };
        let vectors = &row.fields;
        let text = field.map(|field| {
            let text = row.part.map_or_else(|| self.text.clone(), part);
            member(field, &json!(text).to_string())
        });
        let others = self.fields.iter().filter(|(key, _)| !OWN_FIELDS.contains(&key.as_str()));
        let others: String = others.map(|(key, value)| member(key, value.get())).collect();
        let text = text.unwrap_or_default();
        format!("{{\"index\":{index},{text}{others}{vectors}}}\n")
    }
}

/// Takes the text out of a record.
fn record(line: &str, field: &str) -> Result<(String, Fields)> {
    let mut fields: Fields = serde_json::from_str(line).context("not a JSON object")?;
    let text = fields.remove(field).with_context(|| format!("no field '{field}'"))?;
    let text = serde_json::from_str(text.get());
    Ok((text.ok().with_context(|| format!("field '{field}' is not a text"))?, fields))
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
        let next = || texts.next().map(|text| text.map(|text| text.text)).transpose();
        std::iter::from_fn(next).collect()
    }

    fn by_field() -> Format {
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
            all(b"{\"text\":\"a\\nb\",\"id\":1}\n\n{\"text\":\"\"}\n", by_field()).expect("texts");
        assert_eq!(got, ["a\nb", ""]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (content, want) in [
            (&b"{\"text\":\"a\"}\nnope\n"[..], "x line 2: not a JSON object"),
            (b"[1]\n", "x line 1: not a JSON object"),
            (b"{\"txt\":\"a\"}\n", "x line 1: no field 'text'"),
            (b"\n{\"text\":5}\n", "x line 2: field 'text' is not a text"),
            (b"\xff\n", "x line 1: not UTF-8"),
        ] {
            let error = all(content, by_field()).expect_err("bad");
            assert!(format!("{error:#}").starts_with(want), "{error:#}");
        }
    }

    #[test]
    fn other_fields_of_a_record_pass_as_they_are() {
        let content = b"\n{\"id\":1.10,\"text\":\"a \\\"b\\\"\",\"index\":7,\"tags\":[\"x\", 2]}\n";
        let mut texts = Texts::new("x", Box::new(&content[..]), by_field());
        let text = texts.next().expect("good").expect("one");
        assert_eq!((text.line, texts.next().expect("good").is_none(), texts.lines()), (2, true, 2));
        let row = |fields: &str| Row { text: 0, part: None, fields: fields.to_owned() };
        let want = r#"{"index":1,"id":1.10,"tags":["x", 2],"embedding":[0.5]}"#;
        assert_eq!(text.with_vector(1, None, &row(r#""embedding":[0.5]"#)), format!("{want}\n"));
        let want = r#"{"index":1,"text":"a \"b\"","id":1.10,"tags":["x", 2],"embedding":[]}"#;
        assert_eq!(
            text.with_vector(1, Some("text"), &row(r#""embedding":[]"#)),
            format!("{want}\n")
        );
    }

    #[test]
    fn names_promise_a_format() {
        assert!(is_jsonl(Path::new("a.jsonl")) && is_jsonl(Path::new("b.ndjson")));
        assert!(!is_jsonl(Path::new("a.txt")) && !is_jsonl(Path::new("-")));
    }
}
