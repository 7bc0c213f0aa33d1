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

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::Value;

    use super::*;

    /// What the gguf package says that blocks stand for.
    #[test]
    fn blocks_of_every_kind() {
        let path = "/../tests/goldens/tokenizers/blocks.json";
        let golden = std::fs::read(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let cases: Vec<Value> = serde_json::from_slice(&golden).unwrap();
        for case in cases {
            let decode = |key: &str| STANDARD.decode(case[key].as_str().unwrap()).unwrap();
            let dtype = match case["type"].as_str().unwrap() {
                "Q2_K" => GgmlDType::Q2K,
                "Q3_K" => GgmlDType::Q3K,
                "Q4_K" => GgmlDType::Q4K,
                "Q5_K" => GgmlDType::Q5K,
                "Q6_K" => GgmlDType::Q6K,
                other => panic!("{other}"),
            };
            let bytes = decode("bytes");
            let values = decode("values");
            let wanted: Vec<f32> = values
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
                .collect();
            let found = dequantize(&bytes, dtype, wanted.len()).unwrap();
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b.abs().max(0.01);
            assert!(found.iter().zip(&wanted).all(close), "{dtype:?}");
            let mut second = vec![0.0; 256];
            read(&bytes, dtype, 256..512, &mut second);
            assert_eq!(second, found[256..]);
        }
    }
}
