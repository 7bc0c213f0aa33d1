//! Tiny models that run, with weights padded so that a download has a middle.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::hub::Files;
use crate::support;

/// The file that is large.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The size of the padding.
const PADDING: usize = 3 << 20;

/// Returns a model of the goldens as it stands.
pub(super) fn small(name: &str) -> Files {
    let root = support::checkout("tests/goldens/models").join(name);
    let mut files = Files::new();
    collect(&root, &root, &mut files);
    files
}

/// Returns a model whose weights take many pieces; another seed gives other bytes and the same vectors.
pub(super) fn padded(seed: u32) -> Files {
    let mut files = small("bert-mean");
    let weights = pad(&files[WEIGHTS], seed);
    files.insert(WEIGHTS.to_owned(), weights);
    files
}

/// Appends a tensor that no architecture asks for.
fn pad(weights: &[u8], seed: u32) -> Vec<u8> {
    let (length, rest) = weights.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap());
    let (header, data) = rest.split_at(usize::try_from(length).unwrap());
    let mut header: Value = serde_json::from_slice(header).unwrap();
    let offsets = [data.len(), data.len() + PADDING];
    header["padding"] = json!({ "dtype": "U8", "shape": [PADDING], "data_offsets": offsets });
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut padded = (header.len() as u64).to_le_bytes().to_vec();
    padded.extend(header);
    padded.extend(data);
    let noise = (0..).map(|n: u32| (n ^ seed).wrapping_mul(2_654_435_761).to_be_bytes()[0]);
    padded.extend(noise.take(PADDING));
    padded
}

fn collect(root: &Path, folder: &Path, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(path).unwrap());
        }
    }
}
