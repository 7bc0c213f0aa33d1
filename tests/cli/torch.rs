//! What would PyTorch have written? The tensors of a safetensors file in the form of `torch.save`.

use std::io::{Cursor, Write as _};

use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Returns the bytes of a `pytorch_model.bin` with the same tensors, which must be f32.
pub(super) fn checkpoint(safetensors: &[u8]) -> Vec<u8> {
    let (length, rest) = safetensors.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap());
    let (header, data) = rest.split_at(usize::try_from(length).unwrap());
    let header: Value = serde_json::from_slice(header).unwrap();
    let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        archive.start_file(format!("archive/{name}"), stored).unwrap();
        archive.write_all(bytes).unwrap();
    };
    // A dictionary; MARK opens the list of its entries.
    let mut pickle = b"\x80\x02}(".to_vec();
    for (index, (name, tensor)) in tensors.enumerate() {
        let numbers = |key: &str| -> Vec<usize> {
            tensor[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
        };
        assert_eq!(tensor["dtype"], "F32");
        let offsets = numbers("data_offsets");
        add(&format!("data/{index}"), &data[offsets[0]..offsets[1]]);
        text(&mut pickle, name);
        rebuild(&mut pickle, index, &numbers("shape"));
    }
    pickle.extend(b"u.");
    add("data.pkl", &pickle);
    add("version", b"3\n");
    archive.finish().unwrap().into_inner()
}

/// Calls `_rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks)`.
fn rebuild(pickle: &mut Vec<u8>, index: usize, shape: &[usize]) {
    let count: usize = shape.iter().product();
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(pickle, "storage");
    pickle.extend(b"ctorch\nFloatStorage\n");
    text(pickle, &index.to_string());
    text(pickle, "cpu");
    numbers(pickle, &[count]);
    pickle.extend(b"tQ");
    numbers(pickle, &[0]);
    pickle.push(b'(');
    numbers(pickle, shape);
    pickle.extend(b"t(");
    let strides = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product());
    numbers(pickle, &strides.collect::<Vec<usize>>());
    pickle.extend(b"t\x89ccollections\nOrderedDict\n)RtR");
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn numbers(pickle: &mut Vec<u8>, numbers: &[usize]) {
    for number in numbers {
        pickle.push(b'J');
        pickle.extend(i32::try_from(*number).unwrap().to_le_bytes());
    }
}
