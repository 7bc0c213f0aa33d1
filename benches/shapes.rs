//! Models of the shapes that people use, with random weights: speed does not depend on what they have learnt.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use serde_json::{Map, Value, json};

/// A shape to measure.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// The most tokens of a corpus that are measured, so that a run ends within seconds.
    pub(crate) tokens: usize,
    config: fn() -> Value,
    /// Names and sizes of the tensors of a layer (`{}` its number) and of the rest; norms are ones.
    tensors: fn() -> Vec<(String, Vec<usize>)>,
    /// Bytes of a stored weight: 4 for f32, 2 for bf16.
    bytes: usize,
}

/// A sixth of bge-m3, for a text as long as it takes: all of its layers would take a minute each time.
pub(crate) const DEEP: Shape = Shape {
    name: "4 of the 24 layers of bge-m3",
    tokens: 8192,
    config: || bert(1024, 4, 16, 4096, 250_002, 8194),
    tensors: || bert_tensors(1024, 4, 4096, 250_002, 8194),
    bytes: 4,
};

pub(crate) const SHAPES: [Shape; 3] = [
    Shape {
        name: "bge-base",
        tokens: 3000,
        config: || bert(768, 12, 12, 3072, 30522, 512),
        tensors: || bert_tensors(768, 12, 3072, 30522, 512),
        bytes: 4,
    },
    Shape {
        name: "bge-m3",
        tokens: 1500,
        config: || bert(1024, 24, 16, 4096, 250_002, 8194),
        tensors: || bert_tensors(1024, 24, 4096, 250_002, 8194),
        bytes: 4,
    },
    Shape { name: "Qwen3-0.6B", tokens: 1000, config: qwen3, tensors: qwen3_tensors, bytes: 2 },
];

impl Shape {
    /// Writes the model into a folder, with the tokenizer of another.
    pub(crate) fn write(&self, folder: &Path, tokenizer: &Path) -> io::Result<()> {
        fs::copy(tokenizer.join("tokenizer.json"), folder.join("tokenizer.json"))?;
        fs::write(folder.join("config.json"), (self.config)().to_string())?;
        let mut header = Map::new();
        let mut end = 0;
        let tensors = (self.tensors)();
        for (name, shape) in &tensors {
            let start = end;
            end += shape.iter().product::<usize>() * self.bytes;
            let dtype = if self.bytes == 2 { "BF16" } else { "F32" };
            header.insert(
                name.clone(),
                json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }),
            );
        }
        let mut text = Value::Object(header).to_string();
        text.push_str(&" ".repeat(text.len().next_multiple_of(64) - text.len()));
        let mut file =
            BufWriter::with_capacity(1 << 20, File::create(folder.join("model.safetensors"))?);
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(text.as_bytes())?;
        let mut seed = 1;
        for (name, shape) in &tensors {
            let ones = name.contains("norm") || name.contains("LayerNorm");
            self.fill(&mut file, shape, ones, &mut seed)?;
        }
        file.flush()
    }

    fn fill(
        &self,
        file: &mut impl Write,
        shape: &[usize],
        ones: bool,
        seed: &mut u32,
    ) -> io::Result<()> {
        let scale = 1.0 / (*shape.last().unwrap_or(&1) as f32).sqrt();
        for _ in 0..shape.iter().product() {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let random = ((*seed >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale;
            let bytes = if ones { 1.0 } else { random }.to_le_bytes();
            file.write_all(&bytes[4 - self.bytes..])?;
        }
        Ok(())
    }
}

fn bert(
    hidden: usize,
    layers: usize,
    heads: usize,
    inner: usize,
    vocabulary: usize,
    rows: usize,
) -> Value {
    json!({
        "model_type": "bert", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": inner, "vocab_size": vocabulary, "max_position_embeddings": rows,
        "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12
    })
}

fn bert_tensors(
    hidden: usize,
    layers: usize,
    inner: usize,
    vocabulary: usize,
    rows: usize,
) -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| {
        tensors.push((format!("{name}.weight"), shape.to_vec()));
        if shape.len() == 1 || name.starts_with("encoder") {
            tensors.push((format!("{name}.bias"), shape[..1].to_vec()));
        }
    };
    add("embeddings.word_embeddings".to_owned(), &[vocabulary, hidden]);
    add("embeddings.position_embeddings".to_owned(), &[rows, hidden]);
    add("embeddings.token_type_embeddings".to_owned(), &[2, hidden]);
    add("embeddings.LayerNorm".to_owned(), &[hidden]);
    for layer in 0..layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        for part in [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ] {
            add(name(part), &[hidden, hidden]);
        }
        add(name("attention.output.LayerNorm"), &[hidden]);
        add(name("intermediate.dense"), &[inner, hidden]);
        add(name("output.dense"), &[hidden, inner]);
        add(name("output.LayerNorm"), &[hidden]);
    }
    tensors
}

fn qwen3() -> Value {
    json!({
        "model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151_669,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "hidden_act": "silu"
    })
}

fn qwen3_tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    let mut add =
        |name: String, shape: &[usize]| tensors.push((format!("{name}.weight"), shape.to_vec()));
    add("embed_tokens".to_owned(), &[151_669, 1024]);
    for layer in 0..28 {
        let name = |part: &str| format!("layers.{layer}.{part}");
        add(name("input_layernorm"), &[1024]);
        add(name("self_attn.q_proj"), &[2048, 1024]);
        add(name("self_attn.k_proj"), &[1024, 1024]);
        add(name("self_attn.v_proj"), &[1024, 1024]);
        add(name("self_attn.q_norm"), &[128]);
        add(name("self_attn.k_norm"), &[128]);
        add(name("self_attn.o_proj"), &[1024, 2048]);
        add(name("post_attention_layernorm"), &[1024]);
        add(name("mlp.gate_proj"), &[3072, 1024]);
        add(name("mlp.up_proj"), &[3072, 1024]);
        add(name("mlp.down_proj"), &[1024, 3072]);
    }
    add("norm".to_owned(), &[1024]);
    tensors
}
