//! What does a GGUF file hold? Its metadata and where its tensors lie; nothing is read before somebody asks for it.

mod header;
mod names;
mod settings;
mod types;

use std::{collections::BTreeMap, fs::File, ops::Range, path::Path, sync::Arc};

use candle_core::quantized::GgmlDType;
use memmap2::Mmap;
use serde_json::Value;

use crate::{Error, Files, Plan, architectures::Architecture, weights::map};
use header::{Entry, Header};

/// An open GGUF file.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// Its path in the repository, for messages.
    name: String,
    file: File,
    whole: Mmap,
    header: Header,
}

/// A tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// Of its elements.
    pub(crate) dtype: GgmlDType,
    /// Rows first.
    pub(crate) shape: Vec<usize>,
    /// Of the first byte in the file.
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
}

impl Gguf {
    /// Opens the model of a repository that is one GGUF file; none if it is something else.
    pub(crate) fn find(files: &Files) -> Result<Option<Arc<Self>>, Error> {
        let is_gguf = |path: &str| path.to_ascii_lowercase().ends_with(".gguf");
        let mut found = files.iter().filter(|(path, _)| is_gguf(path));
        if files.contains_key("config.json") || files.contains_key("modules.json") {
            return Ok(None);
        }
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((name, path)), None) => Self::open(name, path).map(Arc::new).map(Some),
            (Some(_), Some((name, _))) => {
                Err(Error::file(name, "is one GGUF file of several, and a model has one"))
            }
        }
    }

    /// Reads the header, and checks it against the size of the file.
    fn open(name: &str, path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::file(name, e))?;
        let size = file.metadata().map_err(|e| Error::file(name, e))?.len();
        if size == 0 {
            return Err(Error::file(name, "is empty"));
        }
        let whole = map(&file, 0, None).map_err(|e| Error::file(name, e))?;
        let mut header = header::read(&whole).map_err(|problem| match problem {
            header::Problem::Damaged(text) => Error::file(name, text),
            header::Problem::Unsupported(what) => {
                Error::Unsupported(format!("{what} cannot run in this version"))
            }
        })?;
        // Ollama's first files of EmbeddingGemma have a name of their own for it.
        if let Some(place) = header.tensors.remove("norm.weight") {
            header.tensors.entry("output_norm.weight".to_owned()).or_insert(place);
        }
        Ok(Self { name: name.to_owned(), file, whole, header })
    }

    /// Maps the bytes of a tensor.
    pub(crate) fn map(&self, place: &Place) -> std::io::Result<Mmap> {
        map(&self.file, place.offset, Some(place.bytes))
    }

    /// Returns the tensors by name.
    pub(crate) fn tensors(&self) -> &BTreeMap<String, Place> {
        &self.header.tensors
    }

    /// Says whether there is a tensor of this name.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.header.tensors.contains_key(tensor)
    }

    /// Returns the rows of a tensor.
    pub(crate) fn rows(&self, tensor: &str) -> Option<usize> {
        self.header.tensors.get(tensor)?.shape.first().copied()
    }

    /// Takes an architecture and its plan to this file.
    pub(crate) fn adapt(
        &self,
        found: Architecture,
        plan: Plan,
    ) -> Result<(Architecture, Plan), Error> {
        let plan = Plan { architecture: self.architecture().to_owned(), ..plan };
        let (found, plan) = names::adapt(found, plan, self.tensors());
        match names::stray(&found, &plan, self.tensors().keys()) {
            Some(tensor) => Err(Error::Unsupported(format!(
                "a model of architecture '{}' with '{tensor}' cannot run in this version",
                self.architecture()
            ))),
            None => Ok((found, plan)),
        }
    }

    /// Returns the path in the repository.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the file calls its architecture.
    pub(crate) fn architecture(&self) -> &str {
        self.text("general.architecture").unwrap_or_default()
    }

    /// Returns the type of most of its weights, by the name that Ollama shows.
    pub(crate) fn file_type(&self) -> Option<&'static str> {
        let number = self.value("general.file_type").as_u64()?;
        Some(types::file_type(number))
    }

    /// Returns a value of the model's own architecture; null where it is absent.
    pub(crate) fn own(&self, key: &str) -> Value {
        self.value(&format!("{}.{key}", self.architecture()))
    }

    /// Returns a number, text or truth value, or a short list of these; null where it is absent.
    pub(crate) fn value(&self, key: &str) -> Value {
        match self.header.values.get(key) {
            Some(Entry::Scalar(value)) => value.clone(),
            Some(Entry::Text(at)) => Value::String(self.lossy(at)),
            Some(Entry::List(list)) if list.count <= header::MOST_SMALL_VALUES => {
                Value::Array(list.numbers(&self.whole))
            }
            _ => Value::Null,
        }
    }

    /// Returns a text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.header.values.get(key)? {
            Entry::Text(at) => std::str::from_utf8(&self.whole[at.clone()]).ok(),
            Entry::Scalar(_) | Entry::List(_) => None,
        }
    }

    /// Returns a list of texts.
    pub(crate) fn texts(&self, key: &str) -> Option<Vec<String>> {
        match self.header.values.get(key)? {
            Entry::List(list) => list.texts(&self.whole),
            Entry::Scalar(_) | Entry::Text(_) => None,
        }
    }

    /// Returns a list of numbers.
    pub(crate) fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        match self.header.values.get(key)? {
            Entry::List(list) => list.floats(&self.whole),
            Entry::Scalar(_) | Entry::Text(_) => None,
        }
    }

    /// Returns a list of bytes, signed or not.
    pub(crate) fn bytes(&self, key: &str) -> Option<&[u8]> {
        match self.header.values.get(key)? {
            Entry::List(list) => list.bytes(&self.whole),
            Entry::Scalar(_) | Entry::Text(_) => None,
        }
    }

    /// Returns an error about this file.
    pub(crate) fn error(&self, problem: impl std::fmt::Display) -> Error {
        Error::file(&self.name, problem)
    }

    fn lossy(&self, at: &Range<usize>) -> String {
        String::from_utf8_lossy(&self.whole[at.clone()]).into_owned()
    }
}
