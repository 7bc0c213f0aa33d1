//! Does a GGUF file of any bytes give a model or an error, and nothing worse?
#![no_main]

mod model;

use libfuzzer_sys::fuzz_target;

/// More than the tensors of every seed, which come without their values.
const VALUES_BYTES: u64 = 64 << 10;

// The first byte says whether the rest is the whole file, or zeros follow for the values of tensors.
fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let zeros = if kind.is_multiple_of(4) { 0 } else { VALUES_BYTES };
    let mut files = engine::Files::new();
    model::put(&mut files, "model.gguf", bytes, bytes.len() as u64 + zeros);
    model::run(&files);
});
