//! What would `config.json` say of a model that lies in a GGUF file?
//!
//! The architectures read the settings that are made here as they read those of a repository.

use serde_json::{Map, Value, json};

use super::Gguf;
use crate::{Error, settings::Settings};

/// Keys of a file, without the name of its architecture, and keys that architectures read. A file holds only those of
/// its own architecture, so no key can mean something to another.
const KEYS: &[(&str, &str)] = &[
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count", "num_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "d_kv"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_epsilon", "layer_norm_eps"),
    ("attention.layer_norm_rms_epsilon", "layer_norm_epsilon"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.relative_buckets_count", "relative_attention_num_buckets"),
    ("attention.sliding_window", "sliding_window"),
    ("block_count", "num_hidden_layers"),
    ("block_count", "num_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "d_model"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "d_ff"),
    ("feed_forward_length", "intermediate_size"),
    ("rope.freq_base", "rope_theta"),
];

/// An architecture by its name in files, with the `model_type` that computes it and what else that must know.
type Family = (&'static str, &'static str, fn(&Gguf) -> Value);

const FAMILIES: &[Family] = &[
    ("bert", "bert", bert),
    ("eurobert", "eurobert", scaled),
    ("gemma-embedding", "gemma3_text", gemma),
    ("gemma3", "gemma3_text", gemma),
    ("jina-bert-v2", "bert", jina),
    ("llama", "llama", scaled),
    ("llama-embed", "llama", scaled),
    ("modern-bert", "modernbert", modernbert),
    ("nomic-bert", "nomic_bert", nomic),
    ("qwen2", "qwen2", scaled),
    ("qwen3", "qwen3", scaled),
    ("t5encoder", "t5", t5),
];

impl Gguf {
    /// Returns what `config.json` would say.
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let name = self.architecture();
        let (_, model_type, more) =
            FAMILIES.iter().find(|family| family.0 == name).ok_or_else(|| {
                Error::Unsupported(format!("architecture '{name}' cannot run in this version"))
            })?;
        if self.has("rope_freqs.weight") {
            let what = "rotary positions that a tensor scales";
            return Err(Error::Unsupported(format!("{what} cannot run in this version")));
        }
        let mut values = Map::new();
        values.insert("model_type".to_owned(), json!(model_type));
        for (key, name) in KEYS {
            values.insert((*name).to_owned(), self.own(key));
        }
        values.insert("vocab_size".to_owned(), json!(self.rows("token_embd.weight")));
        values.insert("type_vocab_size".to_owned(), json!(self.rows("token_types.weight")));
        if let Value::Object(more) = more(self) {
            values.extend(more);
        }
        Ok(Settings::new(self.name(), Value::Object(values)))
    }

    /// Says whether rows of queries and keys lie in pairs: such a file was made for a rotation of neighbours.
    pub(crate) fn has_pairs(&self) -> bool {
        matches!(self.architecture(), "llama" | "llama-embed")
    }
}

/// BERT, and RoBERTa whose table of positions lacks the rows for padding; DistilBERT is what has no token types.
fn bert(file: &Gguf) -> Value {
    let rows = file.rows("position_embd.weight");
    match file.has("token_types.weight") {
        true => json!({ "max_position_embeddings": rows }),
        false => json!({ "model_type": "distilbert", "max_position_embeddings": rows }),
    }
}

fn jina(_: &Gguf) -> Value {
    json!({
        "auto_map": { "AutoModel": "JinaBertModel" },
        "feed_forward_type": "geglu",
        "position_embedding_type": "alibi",
    })
}

fn nomic(file: &Gguf) -> Value {
    json!({ "rotary_emb_base": file.own("rope.freq_base") })
}

fn modernbert(file: &Gguf) -> Value {
    json!({
        "global_attn_every_n_layers": file.own("attention.sliding_window_pattern"),
        "global_rope_theta": file.own("rope.freq_base"),
        "hidden_activation": file.own("hidden_activation"),
        "local_attention": file.own("attention.sliding_window"),
        "local_rope_theta": file.own("rope.freq_base_swa"),
    })
}

fn t5(file: &Gguf) -> Value {
    let gated = file.has("enc.blk.0.ffn_gate.weight");
    json!({ "feed_forward_proj": if gated { "gated-gelu" } else { "relu" } })
}

/// Gemma 3: as an embedder it looks both ways, and scores are scaled by the width of a head.
fn gemma(file: &Gguf) -> Value {
    let embeds = file.architecture() == "gemma-embedding" || file.has("dense.0.weight");
    let pooled = file.own("pooling_type").is_u64();
    let causal = !embeds && file.own("attention.causal").as_bool().unwrap_or(!pooled);
    let pattern = file.own("attention.sliding_window_pattern");
    let kind = |slides: &Value| match slides.as_bool().unwrap_or_default() {
        true => "sliding_attention",
        false => "full_attention",
    };
    json!({
        "layer_types": pattern.as_array().map(|all| all.iter().map(kind).collect::<Vec<_>>()),
        "query_pre_attn_scalar": file.own("attention.key_length"),
        "rope_local_base_freq": match file.own("rope.freq_base_swa") {
            Value::Null => json!(10_000.0),
            base => base,
        },
        "rope_scaling": scaling(file),
        "sliding_window_pattern": if pattern.is_u64() { pattern } else { Value::Null },
        "use_bidirectional_attention": !causal,
    })
}

/// Decoders: whether they look ahead, and by what their angles are scaled.
fn scaled(file: &Gguf) -> Value {
    let causal = match file.architecture() {
        "llama-embed" => json!(false),
        _ => file.own("attention.causal"),
    };
    json!({ "is_causal": causal, "rope_scaling": scaling(file), "sliding_window": null })
}

fn scaling(file: &Gguf) -> Value {
    match file.own("rope.scaling.type") {
        Value::Null => Value::Null,
        kind if kind == "none" => Value::Null,
        kind => json!({ "type": kind, "factor": file.own("rope.scaling.factor") }),
    }
}
