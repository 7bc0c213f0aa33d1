//! Do weights of any bytes give a model or an error, and nothing worse?
#![no_main]

mod model;

use engine::Files;
use libfuzzer_sys::fuzz_target;
use modelfiles::Recipe;

/// More than the tensors of every seed have.
const MOST_VALUES_BYTES: u64 = 1 << 20;

// The first byte says which model it is, and whether the rest is the whole file or a header for values of zeros.
fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let (mut files, file) = match kind / 2 % 4 {
        // Its sizes stand in the header alone.
        0 => (model::golden("static", &["modules.json", "tokenizer.json"]), "model.safetensors"),
        1 => (
            model::golden("model2vec-mapped", &["config.json", "modules.json", "tokenizer.json"]),
            "model.safetensors",
        ),
        2 => (model::golden("bert-plain", &["config.json", "tokenizer.json"]), "model.safetensors"),
        _ => (sharded(), "model.safetensors.index.json"),
    };
    if kind.is_multiple_of(2) || file.ends_with("json") {
        model::put(&mut files, file, bytes, 0);
    } else {
        let length = (bytes.len() as u64).to_le_bytes();
        let start = (length.len() + bytes.len()) as u64;
        model::put(&mut files, file, &[&length[..], bytes].concat(), start + end(bytes));
    }
    drop(engine::check(&files, &Recipe::default()));
    model::run(&files);
});

fn sharded() -> Files {
    let shards = [1, 2, 3].map(|shard| format!("model-0000{shard}-of-00003.safetensors"));
    let [first, second, third] = shards.each_ref().map(String::as_str);
    model::golden("bert-sharded", &["config.json", "tokenizer.json", first, second, third])
}

/// Returns where the last tensor ends that a header names.
fn end(header: &[u8]) -> u64 {
    let header: serde_json::Value = serde_json::from_slice(header).unwrap_or_default();
    let tensors = header.as_object().into_iter().flat_map(|tensors| tensors.values());
    let ends = tensors.filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max().unwrap_or(0).min(MOST_VALUES_BYTES)
}
