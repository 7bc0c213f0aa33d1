//! How does a model of Hugging Face become a GGUF file? As llama.cpp and Ollama convert it, in as much as tests need.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use candle_core::{
    DType, Device, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Value},
    },
};
use serde_json::Value as Json;

use super::vocabulary;

/// What is known of a model.
pub(crate) struct Source {
    pub(crate) config: Json,
    pub(crate) tokenizer: Json,
    tensors: BTreeMap<String, Tensor>,
}

/// What a file will hold.
#[derive(Clone, Default)]
pub(crate) struct Target {
    pub(crate) values: BTreeMap<String, Value>,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Source {
    /// Reads a model from the files of its repository.
    pub(crate) fn read(files: &BTreeMap<String, PathBuf>) -> Self {
        let json = |name: &str| serde_json::from_slice(&std::fs::read(&files[name]).unwrap());
        let mut tensors = BTreeMap::new();
        let modules = [("", ""), ("2_Dense/", "dense_2."), ("3_Dense/", "dense_3.")];
        for (folder, prefix) in modules {
            let Some(path) = files.get(&format!("{folder}model.safetensors")) else { continue };
            for (name, tensor) in candle_core::safetensors::load(path, &Device::Cpu).unwrap() {
                let name = format!("{prefix}{}", name.trim_start_matches("linear."));
                tensors.insert(name, tensor.to_dtype(DType::F32).unwrap());
            }
        }
        let [config, tokenizer] = ["config.json", "tokenizer.json"].map(|name| json(name).unwrap());
        Self { config, tokenizer, tensors }
    }

    fn number(&self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| self.config[*name].as_f64())
    }

    fn size(&self, names: &[&str]) -> usize {
        self.number(names).unwrap_or_else(|| panic!("{names:?}")) as usize
    }
}

/// Names of tensors: what is replaced, and by what, in this order.
type Names = &'static [(&'static str, &'static str)];

const BERT: Names = &[
    ("embeddings.word_embeddings", "token_embd"),
    ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.position_embeddings", "position_embd"),
    ("embeddings.LayerNorm", "token_embd_norm"),
    ("emb_ln", "token_embd_norm"),
    ("transformer.layer.", "blk."),
    ("encoder.layers.", "blk."),
    ("encoder.layer.", "blk."),
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
    // DistilBERT
    ("attention.q_lin", "attn_q"),
    ("attention.k_lin", "attn_k"),
    ("attention.v_lin", "attn_v"),
    ("attention.out_lin", "attn_output"),
    ("sa_layer_norm", "attn_output_norm"),
    ("ffn.lin1", "ffn_up"),
    ("ffn.lin2", "ffn_down"),
    ("output_layer_norm", "layer_output_norm"),
    // Nomic
    ("attn.Wqkv", "attn_qkv"),
    ("attn.out_proj", "attn_output"),
    ("norm1", "attn_output_norm"),
    ("norm2", "layer_output_norm"),
    ("mlp.fc11", "ffn_up"),
    ("mlp.fc12", "ffn_gate"),
    ("mlp.fc2", "ffn_down"),
    // Jina
    ("mlp.gated_layers", "ffn_up"),
    ("mlp.wo", "ffn_down"),
    ("mlp.layernorm", "layer_output_norm"),
];

const LLAMA: Names = &[
    ("model.", ""),
    ("embed_tokens", "token_embd"),
    ("embeddings.tok_embeddings", "token_embd"),
    ("embeddings.norm", "token_embd_norm"),
    ("layers.", "blk."),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    // ModernBERT
    ("attn.Wqkv", "attn_qkv"),
    ("attn.Wo", "attn_output"),
    ("mlp_norm", "ffn_norm"),
    ("mlp.Wi", "ffn_up"),
    ("mlp.Wo", "ffn_down"),
];

const T5: Names = &[
    ("shared", "token_embd"),
    ("encoder.final_layer_norm", "enc.output_norm"),
    ("encoder.block.", "enc.blk."),
    ("layer.0.SelfAttention.q", "attn_q"),
    ("layer.0.SelfAttention.k", "attn_k"),
    ("layer.0.SelfAttention.v", "attn_v"),
    ("layer.0.SelfAttention.o", "attn_o"),
    ("attn_relative_attention_bias", "attn_rel_b"),
    ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"),
    ("layer.0.layer_norm", "attn_norm"),
    ("layer.1.layer_norm", "ffn_norm"),
    ("layer.1.DenseReluDense.wi_0", "ffn_gate"),
    ("layer.1.DenseReluDense.wi_1", "ffn_up"),
    ("layer.1.DenseReluDense.wi", "ffn_up"),
    ("layer.1.DenseReluDense.wo", "ffn_down"),
];

/// Converts a model to what the file of an architecture holds.
pub(crate) fn convert(source: &Source, architecture: &str) -> Target {
    let mut target = Target::default();
    values(source, architecture, &mut target);
    vocabulary::write(&source.tokenizer, &mut target);
    let names = match architecture {
        "bert" | "nomic-bert" | "jina-bert-v2" => BERT,
        "t5encoder" => T5,
        _ => LLAMA,
    };
    let unused = ["pooler", "position_ids", "decoder.", "lm_head", "encoder.embed_tokens", "head."];
    for (name, tensor) in &source.tensors {
        if unused.iter().any(|word| name.starts_with(word) || name.contains(".position_ids")) {
            continue;
        }
        let mut to = name.clone();
        // Post-attention norms have the same name in Gemma and Llama, and another place.
        let after =
            if architecture.starts_with("gemma") { "post_attention_norm" } else { "ffn_norm" };
        to = to.replace("post_attention_layernorm", after);
        for (from, by) in names {
            to = to.replace(from, by);
        }
        if to == "norm.weight" || to == "final_norm.weight" {
            "output_norm.weight".clone_into(&mut to);
        }
        target.tensors.insert(to, tensor.clone());
    }
    adapt(source, architecture, &mut target);
    target
}

/// Writes the settings of the encoder.
fn values(source: &Source, architecture: &str, target: &mut Target) {
    let mut put = |key: &str, value: Value| {
        let key = key.replace("{arch}", architecture);
        assert!(target.values.insert(key, value).is_none());
    };
    put("general.architecture", Value::String(architecture.to_owned()));
    put("general.name", Value::String("test".to_owned()));
    for (key, names) in [
        ("embedding_length", &["hidden_size", "dim", "d_model", "n_embd"][..]),
        ("block_count", &["num_hidden_layers", "n_layers", "num_layers", "n_layer"]),
        ("feed_forward_length", &["intermediate_size", "hidden_dim", "d_ff", "n_inner"]),
        ("attention.head_count", &["num_attention_heads", "n_heads", "num_heads", "n_head"]),
    ] {
        put(&format!("{{arch}}.{key}"), Value::U32(source.size(names) as u32));
    }
    let context = source.number(&["max_position_embeddings", "n_positions"]).unwrap_or(512.0);
    let shifted = matches!(source.config["model_type"].as_str(), Some("roberta" | "xlm-roberta"));
    let context = context as u32 - if shifted { 2 } else { 0 };
    put("{arch}.context_length", Value::U32(context));
    for (key, names) in [
        ("attention.layer_norm_epsilon", &["layer_norm_eps", "layer_norm_epsilon", "norm_eps"][..]),
        ("attention.layer_norm_rms_epsilon", &["rms_norm_eps", "layer_norm_epsilon"]),
        ("rope.freq_base", &["rope_theta", "rotary_emb_base", "global_rope_theta"]),
        ("rope.freq_base_swa", &["rope_local_base_freq", "local_rope_theta"]),
    ] {
        let number = source.number(names).or_else(|| {
            let rope = &source.config["rope_parameters"];
            let kinds = ["full_attention", "sliding_attention"];
            let kind = kinds[usize::from(key.ends_with("_swa"))];
            key.starts_with("rope")
                .then(|| rope[kind]["rope_theta"].as_f64())?
                .or_else(|| (!key.ends_with("_swa")).then(|| rope["rope_theta"].as_f64()).flatten())
        });
        let number = number.or_else(|| {
            (source.config["model_type"] == "distilbert" && key.ends_with("norm_epsilon"))
                .then_some(1e-12)
        });
        if let Some(number) = number {
            put(&format!("{{arch}}.{key}"), Value::F32(number as f32));
        }
    }
    for (key, names) in [
        ("attention.head_count_kv", &["num_key_value_heads"][..]),
        ("attention.key_length", &["head_dim", "d_kv"]),
        ("attention.value_length", &["head_dim", "d_kv"]),
        ("attention.relative_buckets_count", &["relative_attention_num_buckets"]),
        ("attention.sliding_window", &["sliding_window", "local_attention"]),
    ] {
        if let Some(number) = source.number(names) {
            put(&format!("{{arch}}.{key}"), Value::U32(number as u32));
        }
    }
}

/// Does what converters do to tensors.
fn adapt(source: &Source, architecture: &str, target: &mut Target) {
    let each = |target: &mut Target, suffix: &str, change: &dyn Fn(&Tensor) -> Tensor| {
        for (name, tensor) in &mut target.tensors {
            if name.ends_with(suffix) {
                *tensor = change(tensor);
            }
        }
    };
    match (architecture, source.config["model_type"].as_str().unwrap_or_default()) {
        (_, "roberta" | "xlm-roberta") => each(target, "position_embd.weight", &|table| {
            let rows = Tensor::arange(2u32, table.dim(0).unwrap() as u32, &Device::Cpu).unwrap();
            table.index_select(&rows, 0).unwrap()
        }),
        ("gemma-embedding" | "gemma3", _) => {
            each(target, "norm.weight", &|norm| (norm + 1.0).unwrap());
            // Files do not say what scores are scaled by if it is not the width of a head, so the norm does.
            let width = source.size(&["head_dim"]) as f64;
            let scale = (width / source.size(&["query_pre_attn_scalar"]) as f64).sqrt();
            each(target, "attn_q_norm.weight", &|norm| (norm * scale).unwrap());
        }
        ("llama", _) => {
            let heads = source.size(&["num_attention_heads"]);
            each(target, "attn_q.weight", &|rows| into_pairs(rows, heads));
            let heads = source.size(&["num_key_value_heads"]);
            each(target, "attn_k.weight", &|rows| into_pairs(rows, heads));
        }
        _ => {}
    }
}

/// Puts the two halves of every head side by side, row by row.
fn into_pairs(rows: &Tensor, heads: usize) -> Tensor {
    let (count, width) = rows.dims2().unwrap();
    let halves = rows.reshape((heads, 2, count / heads / 2, width)).unwrap();
    halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape((count, width)).unwrap()
}

/// Returns a tensor as it is written, where matrices are to be of a type.
pub(crate) fn stored(name: &str, tensor: &Tensor, dtype: GgmlDType) -> QTensor {
    let width = tensor.dims().last().copied().unwrap_or(1);
    let kept = tensor.rank() < 2 || name.starts_with("position_embd");
    let kept = kept || name.starts_with("token_types") || name.contains("rel_b");
    let dtype = match dtype {
        _ if kept => GgmlDType::F32,
        dtype if !width.is_multiple_of(dtype.block_size()) => GgmlDType::F16,
        dtype => dtype,
    };
    QTensor::quantize(tensor, dtype).unwrap()
}

impl Target {
    pub(crate) fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.values.insert(key.to_owned(), value);
        self
    }

    /// Writes the file, matrices as `dtype` where their rows allow it, else in f16 as llama.cpp does.
    pub(crate) fn write(&self, path: &Path, dtype: GgmlDType) {
        let tensors: Vec<(&String, QTensor)> =
            self.tensors.iter().map(|(name, tensor)| (name, stored(name, tensor, dtype))).collect();
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut values: Vec<(&str, &Value)> =
            self.values.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let number = match dtype {
            GgmlDType::F32 => 0,
            GgmlDType::F16 => 1,
            GgmlDType::Q4_0 => 2,
            GgmlDType::Q8_0 => 7,
            GgmlDType::Q4K => 15,
            GgmlDType::BF16 => 32,
            _ => 1024,
        };
        let number = Value::U32(number);
        values.push(("general.file_type", &number));
        gguf_file::write(&mut File::create(path).unwrap(), &values, &tensors).unwrap();
    }
}
