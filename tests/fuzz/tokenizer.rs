//! Does a tokenizer of any bytes give tokens or an error, and nothing worse?
#![no_main]

mod model;

use libfuzzer_sys::fuzz_target;

/// Files of tokenizers, and the class that reads them.
const FILES: [(&str, &str); 6] = [
    ("tokenizer.json", "Bert"),
    ("vocab.txt", "Bert"),
    ("vocab.json", "Roberta"),
    ("sentencepiece.bpe.model", "XLMRoberta"),
    ("spiece.model", "T5"),
    ("tokenizer.model", "Llama"),
];

// The first byte says which file the rest is.
fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let (file, class) = FILES[usize::from(*kind) % FILES.len()];
    let mut files = model::golden("bert-plain", &["config.json", "model.safetensors"]);
    let settings = format!("{{\"tokenizer_class\":\"{class}Tokenizer\"}}");
    model::put(&mut files, "tokenizer_config.json", settings.as_bytes(), 0);
    if file == "vocab.json" {
        // The merges stand behind a line that begins with this word.
        let at = bytes.windows(8).position(|window| window == b"#version").unwrap_or(bytes.len());
        model::put(&mut files, file, &bytes[..at], 0);
        model::put(&mut files, "merges.txt", &bytes[at..], 0);
    } else {
        model::put(&mut files, file, bytes, 0);
    }
    model::run(&files);
});
