//! Where tensors come from: mapped safetensors, PyTorch files read as data only, or a GGUF file.

mod blocks;
mod gguf;
mod mapped;
mod matrix;
mod pickle;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use candle_core::{
    DType, Tensor,
    pickle::{PthTensors, TensorInfo},
};

use crate::{Error, Files, gguf::Gguf, repository};
use mapped::Mapped;
pub(crate) use mapped::map;
pub(crate) use matrix::{Matrix, View};

/// Shape and element type of a tensor, known from a header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
}

/// What the rows of a static model are called: by Model2Vec, and by sentence-transformers, which takes either.
const STATIC_TABLES: [&str; 4] =
    ["embeddings", "embedding.weight", "embeddings.weight", "embedding"];

/// The open weight files of one folder.
pub(crate) struct Weights {
    reader: Reader,
    /// Path of the first file, for messages.
    file: String,
    headers: BTreeMap<String, Header>,
    /// What stands before the names that an architecture gives.
    prefix: String,
}

enum Reader {
    Mapped(Mapped),
    Pickled(Vec<PthTensors>),
    Gguf(gguf::Reader),
}

impl Weights {
    /// Takes the tensors of a GGUF file. Where queries and keys turn in neighbouring pairs of values, the width of
    /// their heads says how these come apart.
    pub(crate) fn of_gguf(file: &Arc<Gguf>, pairs: Option<usize>) -> Self {
        let reader = gguf::Reader::new(Arc::clone(file), pairs);
        let (file, headers) = (file.name().to_owned(), reader.headers());
        Self { reader: Reader::Gguf(reader), file, headers, prefix: String::new() }
    }

    /// Opens what the folder has, in the order that sentence-transformers prefers: safetensors, sharded
    /// safetensors, PyTorch, sharded PyTorch.
    pub(crate) fn open(files: &Files, folder: &str) -> Result<Self, Error> {
        for (name, mapped) in [("model.safetensors", true), ("pytorch_model.bin", false)] {
            let single = format!("{folder}{name}");
            if files.contains_key(&single) {
                return Self::read(files, vec![single], mapped);
            }
            let index = format!("{folder}{name}.index.json");
            if let Some(shards) = shards(files, folder, &index)? {
                return Self::read(files, shards, mapped);
            }
        }
        Err(Error::file(
            format!("{folder}model.safetensors"),
            "no weights in a format that can be read",
        ))
    }

    /// Opens a PyTorch file by its name.
    pub(crate) fn pickled(files: &Files, name: &str) -> Result<Self, Error> {
        Self::read(files, vec![name.to_owned()], false)
    }

    fn read(files: &Files, names: Vec<String>, mapped: bool) -> Result<Self, Error> {
        let path =
            |name: &String| files.get(name).cloned().ok_or_else(|| Error::file(name, "missing"));
        let paths = names.iter().map(path).collect::<Result<Vec<PathBuf>, Error>>()?;
        let file = names.into_iter().next().unwrap_or_default();
        let reader = if mapped {
            Reader::Mapped(Mapped::open(&file, paths.iter().map(PathBuf::as_path))?)
        } else {
            unpickle(&file, &paths)?
        };
        let headers = reader.headers(&file)?;
        Ok(Self { reader, file, headers, prefix: String::new() })
    }

    /// Finds what stands before the names, from the full name of a tensor that must be there.
    pub(crate) fn anchor(&mut self, name: &str) -> Result<(), Error> {
        let other = name.strip_suffix(".weight").map(adapted);
        let found = self.headers.keys().filter_map(|key| {
            key.strip_suffix(name).or_else(|| key.strip_suffix(other.as_deref()?))
        });
        let prefix = found.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')).min();
        let prefix =
            prefix.ok_or_else(|| Error::file(&self.file, format!("no tensor '{name}'")))?;
        self.prefix = prefix.to_owned();
        Ok(())
    }

    /// Returns the number of weights, and the element type that most of them have.
    pub(crate) fn census(&self) -> (u64, Option<DType>) {
        let mut counts: Vec<(DType, u64)> = Vec::new();
        for header in self.headers.values().filter(|header| header.dtype.is_float()) {
            let count = header.shape.iter().fold(1u64, |n, d| n.saturating_mul(*d as u64));
            match counts.iter_mut().find(|(dtype, _)| *dtype == header.dtype) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => counts.push((header.dtype, count)),
            }
        }
        let total = counts.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
        (total, counts.iter().max_by_key(|(_, n)| *n).map(|(dtype, _)| *dtype))
    }

    /// Returns the shape of the first of these tensors that is there.
    fn shape(&self, names: &[&str]) -> Option<&[usize]> {
        names.iter().find_map(|name| Some(self.headers.get(*name)?.shape.as_slice()))
    }

    /// Returns how many tokens a static model has, and the width of their rows.
    pub(crate) fn static_sizes(&self) -> Result<(usize, usize), Error> {
        let Some([rows, width]) = self.shape(&STATIC_TABLES) else {
            return Err(Error::file(&self.file, "holds no table of rows"));
        };
        // Tokens may share rows.
        let tokens = self.shape(&["mapping"]).and_then(<[usize]>::first).unwrap_or(rows);
        Ok((*tokens, *width))
    }

    /// Opens the rows of a static model: those of the file, or what tokens that share rows and weigh them make of
    /// these.
    pub(crate) fn static_table(&self, tokens: usize, width: usize) -> Result<Matrix, Error> {
        let name = STATIC_TABLES.into_iter().find(|name| self.headers.contains_key(*name));
        let name = name.unwrap_or(STATIC_TABLES[0]);
        let rows = self.shape(&[name]).and_then(<[usize]>::first).copied().unwrap_or_default();
        let table = self.matrix(name.trim_end_matches(".weight"), rows, width)?;
        let (mapping, scales) = (self.list("mapping")?, self.list("weights")?);
        if mapping.is_none() && scales.is_none() {
            return Ok(table);
        }
        let problem = || Error::file(&self.file, "rows, 'mapping' and 'weights' do not fit");
        let mut values = vec![0.0; tokens * width];
        for (token, values) in values.chunks_exact_mut(width).enumerate() {
            let of = |list: &Option<Vec<f64>>, otherwise| match list {
                Some(list) => list.get(token).copied(),
                None => Some(otherwise),
            };
            let row = of(&mapping, token as f64).filter(|row| (0.0..rows as f64).contains(row));
            let scale = of(&scales, 1.0).ok_or_else(problem)? as f32;
            table.view().read(row.ok_or_else(problem)? as usize, values);
            values.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(Matrix::of(values, tokens, width))
    }

    /// Reads a list of numbers, if it is there.
    fn list(&self, name: &str) -> Result<Option<Vec<f64>>, Error> {
        if !self.headers.contains_key(name) {
            return Ok(None);
        }
        Ok(Some(self.stored(name)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?))
    }

    /// Returns the rows of a matrix, whatever number they are.
    pub(crate) fn rows(&self, stem: &str) -> Result<usize, Error> {
        let name = format!("{}{}", self.prefix, tensor(stem, "weight"));
        let rows = self.headers.get(&name).and_then(|header| header.shape.first()).copied();
        rows.ok_or_else(|| Error::file(&self.file, format!("no tensor '{name}'")))
    }

    /// Reads `<stem>.weight` as f32; a norm may call it gamma, as the first BERT files did, and a learned row has no
    /// ending.
    pub(crate) fn weight(&self, stem: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let names = [&tensor(stem, "weight"), &tensor(stem, "gamma"), stem, &adapted(stem)];
        self.tensor(&names.map(|name| name as &str), shape)
    }

    /// Reads a list of so many numbers by its full name.
    pub(crate) fn vector(&self, name: &str, size: usize) -> Result<Vec<f32>, Error> {
        Ok(self.tensor(&[name], &[size])?.to_vec1()?)
    }

    /// Checks that there is a `<stem>.weight` of this shape.
    pub(crate) fn expect(&self, stem: &str, shape: &[usize]) -> Result<(), Error> {
        let names = ["weight", "gamma"].map(|kind| format!("{stem}.{kind}"));
        self.find(&[&names[0], &names[1], stem], shape).map(drop)
    }

    /// Opens `<stem>.weight`, to be read row by row.
    pub(crate) fn matrix(&self, stem: &str, rows: usize, columns: usize) -> Result<Matrix, Error> {
        self.table(stem, &[rows, columns])
    }

    /// Opens a tensor of any shape, to be read row by row: by its first dimension.
    pub(crate) fn table(&self, stem: &str, shape: &[usize]) -> Result<Matrix, Error> {
        let names = [&tensor(stem, "weight"), stem, &adapted(stem)];
        let (name, header) = self.find(&names, shape)?;
        self.open_matrix(&name, header, shape[0], shape[1..].iter().product())
    }

    /// Opens the first (`A`) or second (`B`) small matrices that tasks add to a weight, one below the other.
    pub(crate) fn adapter(
        &self,
        stem: &str,
        which: char,
        [tasks, rows, columns]: [usize; 3],
    ) -> Result<Matrix, Error> {
        let name = format!("{stem}.parametrizations.weight.0.lora_{which}");
        let (name, header) = self.find(&[&name], &[tasks, rows, columns])?;
        self.open_matrix(&name, header, tasks * rows, columns)
    }

    fn open_matrix(
        &self,
        name: &str,
        header: &Header,
        rows: usize,
        columns: usize,
    ) -> Result<Matrix, Error> {
        if let Reader::Mapped(files) = &self.reader
            && Matrix::can_map(header.dtype)
            && let Some(map) = files.map(name).map_err(|e| Error::file(&self.file, e))?
        {
            return Ok(Matrix::mapped(map, header.dtype, rows, columns));
        }
        if let Reader::Gguf(file) = &self.reader {
            return file.matrix(name, rows, columns);
        }
        Ok(Matrix::held(&self.stored(name)?, rows, columns)?)
    }

    /// Reads `<stem>.bias` as f32; a norm may call it beta.
    pub(crate) fn bias(&self, stem: &str, size: usize) -> Result<Tensor, Error> {
        self.tensor(&[&tensor(stem, "bias"), &tensor(stem, "beta")], &[size])
    }

    /// Returns the first of these tensors that is there, and checks its shape.
    fn find(&self, names: &[&str], shape: &[usize]) -> Result<(String, &Header), Error> {
        let names = names.iter().map(|name| format!("{}{name}", self.prefix));
        let (name, header) = names
            .clone()
            .find_map(|name| self.headers.get(&name).map(|header| (name, header)))
            .ok_or_else(|| {
                let wanted = names.clone().next().unwrap_or_default();
                Error::file(&self.file, format!("no tensor '{wanted}'"))
            })?;
        if header.shape != shape || !header.dtype.is_float() {
            let Header { shape: found, dtype } = header;
            let kind = dtype.as_str().to_ascii_uppercase();
            let problem = format!("tensor '{name}' is {kind} {found:?}, wanted {shape:?}");
            return Err(Error::file(&self.file, problem));
        }
        Ok((name, header))
    }

    fn tensor(&self, names: &[&str], shape: &[usize]) -> Result<Tensor, Error> {
        let (name, _) = self.find(names, shape)?;
        Ok(self.stored(&name)?.to_dtype(DType::F32)?.contiguous()?)
    }

    fn stored(&self, name: &str) -> Result<Tensor, Error> {
        let tensor = match &self.reader {
            Reader::Mapped(files) => files.tensor(name)?,
            Reader::Pickled(files) => pickled(files, name)?,
            Reader::Gguf(file) => file.tensor(name)?,
        };
        tensor.ok_or_else(|| Error::file(&self.file, format!("no tensor '{name}'")))
    }
}

/// Names a tensor of a layer; a file that holds nothing else has no name for the layer.
fn tensor(stem: &str, kind: &str) -> String {
    if stem.is_empty() { kind.to_owned() } else { format!("{stem}.{kind}") }
}

impl Reader {
    fn headers(&self, file: &str) -> Result<BTreeMap<String, Header>, Error> {
        match self {
            Self::Mapped(files) => Ok(files.headers()),
            Self::Gguf(file) => Ok(file.headers()),
            Self::Pickled(files) => {
                let infos = files.iter().flat_map(|file| file.tensor_infos());
                let headers: BTreeMap<String, Header> = infos
                    .map(|(name, info)| {
                        let shape = info.layout.shape().dims().to_vec();
                        (name.clone(), Header { shape, dtype: info.dtype })
                    })
                    .collect();
                let empty = headers.is_empty();
                if empty { Err(Error::file(file, "no tensors")) } else { Ok(headers) }
            }
        }
    }
}

/// Returns the name of a weight that tasks add something to.
fn adapted(stem: &str) -> String {
    format!("{stem}.parametrizations.weight.original")
}

/// Opens PyTorch files without running anything that they hold.
fn unpickle(file: &str, paths: &[PathBuf]) -> Result<Reader, Error> {
    let open = |path: &PathBuf| {
        pickle::check(path).map_err(|problem| Error::file(file, old_format(&problem)))?;
        let plain = PthTensors::new(path, None).map_err(|e| Error::file(file, first_line(&e)))?;
        let tensors = if plain.tensor_infos().is_empty() {
            PthTensors::new(path, Some("state_dict"))
                .map_err(|e| Error::file(file, first_line(&e)))?
        } else {
            plain
        };
        let size = std::fs::metadata(path).map_err(|e| Error::file(file, e))?.len();
        let fits = |info: &TensorInfo| {
            let bytes = info.layout.shape().elem_count().checked_mul(info.dtype.size_in_bytes());
            bytes.is_some_and(|bytes| bytes as u64 <= size)
        };
        if tensors.tensor_infos().values().all(fits) {
            return Ok(tensors);
        }
        Err(Error::file(file, "a tensor is larger than the file"))
    };
    paths.iter().map(open).collect::<Result<_, Error>>().map(Reader::Pickled)
}

/// Explains why a PyTorch file cannot be read.
fn old_format(problem: &str) -> String {
    format!("not a PyTorch file of version 1.6 or later ({problem}); save the model as safetensors")
}

/// Returns what an error says, without the path of the store before it and the backtrace behind it.
fn first_line(error: &candle_core::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let bare = line.strip_prefix("path: \"").and_then(|rest| rest.split_once("\" "));
    bare.map_or(line, |(_, problem)| problem).to_owned()
}

/// Reads a tensor from the first file that has it.
fn pickled(files: &[PthTensors], name: &str) -> Result<Option<Tensor>, Error> {
    for file in files {
        if let Some(tensor) = file.get(name)? {
            return Ok(Some(tensor));
        }
    }
    Ok(None)
}

/// Returns the files that an index names.
fn shards(files: &Files, folder: &str, index: &str) -> Result<Option<Vec<String>>, Error> {
    let Some(bytes) = repository::read(files, index)? else { return Ok(None) };
    let index_json: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| Error::file(index, e))?;
    let map = index_json.get("weight_map").and_then(serde_json::Value::as_object);
    let map = map.ok_or_else(|| Error::file(index, "no 'weight_map'"))?;
    let names: BTreeSet<&str> = map.values().filter_map(serde_json::Value::as_str).collect();
    if names.is_empty() {
        return Err(Error::file(index, "names no files"));
    }
    Ok(Some(names.into_iter().map(|name| format!("{folder}{name}")).collect()))
}
