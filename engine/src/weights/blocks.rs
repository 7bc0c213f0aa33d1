//! How quantised blocks become the numbers that they stand for. Candle does it; this is the door to it.

use std::{borrow::Cow, ops::Range};

use candle_core::{CpuStorage, Error, Result as Computed, quantized::GgmlDType};

/// Reads values of a matrix from the bytes of all of its blocks; a range begins and ends between two blocks.
pub(super) fn read(bytes: &[u8], dtype: GgmlDType, values: Range<usize>, to: &mut [f32]) {
    let place = |value: usize| value / dtype.block_size() * dtype.type_size();
    let part = &bytes[place(values.start)..place(values.end)];
    let row = dequantize(part, dtype, values.len()).expect("blocks hold nothing but numbers");
    to.copy_from_slice(&row);
}

/// Returns so many values from exactly their bytes.
pub(super) fn dequantize(bytes: &[u8], dtype: GgmlDType, count: usize) -> Computed<Vec<f32>> {
    match dtype.from_data(Cow::Borrowed(bytes)).dequantize(count)? {
        CpuStorage::F32(values) => Ok(values),
        _ => Err(Error::msg("blocks became something else than f32")),
    }
}
