//! How the rows of a stored matrix are read one by one, as f32: from the mapping of its file where that is possible.

use candle_core::{DType, Tensor};
use half::f16;
use memmap2::Mmap;

/// A matrix in the files of a model.
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    values: Values,
}

enum Values {
    Mapped(Mmap, DType),
    Held(Vec<f32>),
}

/// Rows that can be read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    first: usize,
    pub(crate) rows: usize,
    columns: usize,
    values: Bytes<'a>,
}

#[derive(Clone, Copy)]
enum Bytes<'a> {
    F32(&'a [u8]),
    F16(&'a [u8]),
    Bf16(&'a [u8]),
    Held(&'a [f32]),
}

impl Matrix {
    /// Takes the mapping of a matrix of one of the types that are read row by row.
    pub(super) fn mapped(map: Mmap, dtype: DType, rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: Values::Mapped(map, dtype) }
    }

    /// Takes a matrix of any type.
    pub(super) fn held(tensor: &Tensor, rows: usize, columns: usize) -> candle_core::Result<Self> {
        Ok(Self::of(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, rows, columns))
    }

    /// Takes the values of a matrix, row after row.
    pub(crate) fn of(values: Vec<f32>, rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: Values::Held(values) }
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
            Values::Held(values) => Bytes::Held(values),
        };
        View { first: 0, rows: self.rows, columns: self.columns, values }
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
        let (start, count) = ((self.first + row) * self.columns, self.columns);
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
            Bytes::Held(values) => to.copy_from_slice(&values[start..start + count]),
        }
    }
}
