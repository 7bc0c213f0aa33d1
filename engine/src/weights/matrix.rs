//! How the rows of a stored matrix are read one by one, as f32: from the mapping of its file where that is possible.

use candle_core::{DType, Tensor, quantized::GgmlDType};
use half::f16;
use memmap2::Mmap;

use super::blocks;

/// A matrix in the files of a model.
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    values: Values,
    pairs: Option<usize>,
}

enum Values {
    Mapped(Mmap, DType),
    Blocks(Mmap, GgmlDType),
    Held(Vec<f32>),
}

/// Rows that can be read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    first: usize,
    pub(crate) rows: usize,
    columns: usize,
    values: Bytes<'a>,
    pairs: Option<usize>,
}

#[derive(Clone, Copy)]
enum Bytes<'a> {
    F32(&'a [u8]),
    F16(&'a [u8]),
    Bf16(&'a [u8]),
    Blocks(&'a [u8], GgmlDType),
    Held(&'a [f32]),
}

impl Matrix {
    /// Takes the mapping of a matrix of one of the types that are read row by row.
    pub(super) fn mapped(map: Mmap, dtype: DType, rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: Values::Mapped(map, dtype), pairs: None }
    }

    /// Takes the mapping of a matrix whose rows are blocks of quantised values, and whose length is that of its shape.
    pub(super) fn of_blocks(map: Mmap, dtype: GgmlDType, rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: Values::Blocks(map, dtype), pairs: None }
    }

    /// Takes the rows of every head, which lie as neighbouring pairs, to be halves: row `i` of a head of `size` rows
    /// is then its row `2i`, or in the second half `2(i − size / 2) + 1`.
    pub(super) fn with_pairs(self, size: Option<usize>) -> Self {
        Self { pairs: size, ..self }
    }

    /// Takes a matrix of any type.
    pub(super) fn held(tensor: &Tensor, rows: usize, columns: usize) -> candle_core::Result<Self> {
        Ok(Self::of(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, rows, columns))
    }

    /// Takes the values of a matrix, row after row.
    pub(crate) fn of(values: Vec<f32>, rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: Values::Held(values), pairs: None }
    }

    /// Says whether matrices of this type are read row by row.
    pub(super) fn can_map(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
    }

    /// Returns all values, row after row; rows have so many.
    pub(crate) fn values(&self, columns: usize) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * columns];
        let view = self.view();
        values.chunks_exact_mut(columns).enumerate().for_each(|(row, to)| view.read(row, to));
        values
    }

    /// Returns its rows.
    pub(crate) fn view(&self) -> View<'_> {
        let values = match &self.values {
            Values::Mapped(map, DType::F16) => Bytes::F16(map),
            Values::Mapped(map, DType::BF16) => Bytes::Bf16(map),
            Values::Mapped(map, _) => Bytes::F32(map),
            Values::Blocks(map, dtype) => Bytes::Blocks(map, *dtype),
            Values::Held(values) => Bytes::Held(values),
        };
        View { first: 0, rows: self.rows, columns: self.columns, values, pairs: self.pairs }
    }
}

impl View<'_> {
    /// Returns some of the rows.
    pub(crate) fn part(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "a part lies inside");
        Self { first: self.first + first, rows, ..self }
    }

    /// Reads a row.
    pub(crate) fn read(&self, row: usize, to: &mut [f32]) {
        let row = self.pairs.map_or(self.first + row, |size| paired(self.first + row, size));
        let (start, count) = (row * self.columns, self.columns);
        let halves = |bytes: &[u8], to: &mut [f32], widen: fn(u16) -> f32| {
            let (halves, _) = bytes[2 * start..2 * (start + count)].as_chunks::<2>();
            to.iter_mut().zip(halves).for_each(|(x, half)| *x = widen(u16::from_le_bytes(*half)));
        };
        match self.values {
            Bytes::F32(bytes) => {
                let (floats, _) = bytes[4 * start..4 * (start + count)].as_chunks::<4>();
                to.iter_mut().zip(floats).for_each(|(x, float)| *x = f32::from_le_bytes(*float));
            }
            Bytes::F16(bytes) => halves(bytes, to, |half| f16::from_bits(half).to_f32()),
            Bytes::Bf16(bytes) => halves(bytes, to, |half| f32::from_bits(u32::from(half) << 16)),
            Bytes::Blocks(bytes, dtype) => blocks::read(bytes, dtype, start..start + count, to),
            Bytes::Held(values) => to.copy_from_slice(&values[start..start + count]),
        }
    }
}

/// Returns where a row lies if the rows of each head lie in neighbouring pairs.
pub(super) fn paired(row: usize, size: usize) -> usize {
    let (head, i) = (row / size, row % size);
    let half = size / 2;
    head * size + 2 * (i % half) + i / half
}
