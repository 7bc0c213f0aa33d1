//! Which tensors does a GGUF file give, and as what? Plain ones and blocks are read row by row from a mapping.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::{DType, Device, Tensor, quantized::GgmlDType};

use super::{Header, Matrix, blocks, matrix::paired};
use crate::{
    Error,
    gguf::{Gguf, Place},
};

/// The tensors of a GGUF file.
pub(super) struct Reader {
    file: Arc<Gguf>,
    /// Rows of a head of queries or keys, where these lie in neighbouring pairs.
    pairs: Option<usize>,
}

impl Reader {
    pub(super) fn new(file: Arc<Gguf>, pairs: Option<usize>) -> Self {
        Self { file, pairs }
    }

    /// Returns shapes and element types by name; blocks of quantised values count as what they become.
    pub(super) fn headers(&self) -> BTreeMap<String, Header> {
        let header = |place: &Place| Header {
            shape: place.shape.clone(),
            dtype: plain(place.dtype).unwrap_or(DType::F32),
        };
        self.file.tensors().iter().map(|(name, place)| (name.clone(), header(place))).collect()
    }

    /// Opens a matrix.
    pub(super) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, Error> {
        let place = self.place(name)?;
        let pairs = self.pairs_of(name, rows)?;
        let map = self.file.map(place).map_err(|e| self.file.error(e))?;
        let matrix = match plain(place.dtype) {
            Some(dtype) => Matrix::mapped(map, dtype, rows, columns),
            None => Matrix::of_blocks(map, place.dtype, rows, columns),
        };
        Ok(matrix.with_pairs(pairs))
    }

    /// Reads a tensor.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, Error> {
        let place = self.place(name)?;
        if place.bytes == 0 {
            return Ok(None);
        }
        let map = self.file.map(place).map_err(|e| self.file.error(e))?;
        let tensor = match plain(place.dtype) {
            Some(dtype) => Tensor::from_raw_buffer(&map, dtype, &place.shape, &Device::Cpu)?,
            None => {
                let values = blocks::dequantize(&map, place.dtype, place.shape.iter().product())?;
                Tensor::from_vec(values, place.shape.as_slice(), &Device::Cpu)?
            }
        };
        let rows = place.shape.first().copied().unwrap_or_default();
        Ok(Some(match self.pairs_of(name, rows)? {
            Some(size) => {
                let places = (0..rows).map(|row| paired(row, size) as u32);
                tensor.index_select(&Tensor::from_iter(places, &Device::Cpu)?, 0)?
            }
            None => tensor,
        }))
    }

    fn place(&self, name: &str) -> Result<&Place, Error> {
        let place = self.file.tensors().get(name);
        place.ok_or_else(|| self.file.error(format!("no tensor '{name}'")))
    }

    /// Returns the rows of a head, if those of this tensor lie in pairs.
    fn pairs_of(&self, name: &str, rows: usize) -> Result<Option<usize>, Error> {
        let turns = |name: &str| name.ends_with(".attn_q") || name.ends_with(".attn_k");
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let Some(size) = self.pairs.filter(|_| turns(stem)) else { return Ok(None) };
        if size < 2 || !size.is_multiple_of(2) || !rows.is_multiple_of(size) {
            return Err(self.file.error(format!("the rows of '{name}' are no pairs")));
        }
        Ok(Some(size))
    }
}

/// Returns the type of elements that are stored one by one.
fn plain(dtype: GgmlDType) -> Option<DType> {
    match dtype {
        GgmlDType::F32 => Some(DType::F32),
        GgmlDType::F16 => Some(DType::F16),
        GgmlDType::BF16 => Some(DType::BF16),
        _ => None,
    }
}
