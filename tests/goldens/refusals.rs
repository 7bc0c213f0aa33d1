//! Is what cannot run refused, by a name that tells why?

use std::fs;

use modelfiles::recipe::Recipe;
use serde_json::{Value, json};

use super::{describe, files, load, reconfigured};

#[test]
fn what_cannot_run_says_so() {
    for (from, to, words) in [
        ("\"model_type\": \"bert\"", "\"model_type\": \"mamba\"", "architecture 'mamba'"),
        ("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"laplace\"", "activation 'laplace'"),
    ] {
        let (files, _folder) = reconfigured("bert-mean", from, to);
        let error = describe(&files).unwrap_err().to_string();
        assert_eq!(error, format!("{words} cannot run in this version"));
    }
}

#[test]
fn other_positions_and_attention_are_refused_by_name() {
    let yarn = "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0}";
    let code = "\"auto_map\": {\"AutoModel\": \"someone/model--code.TheirModel\"}, \"model_type\"";
    for (model, from, to, words) in [
        ("qwen3", "\"rope_scaling\": null", yarn, "rotary positions 'yarn'"),
        ("llama", "\"default\"", "\"dynamic\"", "rotary positions 'dynamic'"),
        ("nomic-hub", "\"prenorm\": false", "\"prenorm\": true", "'prenorm'"),
        (
            "nomic-moe",
            "\"moe_normalize_expert_weights\": false",
            "\"moe_normalize_expert_weights\": true",
            "'moe_normalize_expert_weights'",
        ),
        (
            "nomic-moe",
            "\"num_shared_experts\": 0",
            "\"num_shared_experts\": 1",
            "experts that all tokens share",
        ),
        ("jina2", "\"geglu\"", "\"original\"", "feed-forward layer 'original'"),
        (
            "deberta",
            "\"hidden_act\"",
            "\"conv_kernel_size\": 3, \"hidden_act\"",
            "a DeBERTa with a convolution",
        ),
        ("t5", "\"relu\"", "\"gated-laplace\"", "activation 'gated-laplace'"),
        ("bert-mean", "\"model_type\"", code, "models that bring their own code"),
    ] {
        let (files, _folder) = reconfigured(model, from, to);
        let error = describe(&files).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{words} cannot run")), "{model}: {error}");
    }
}

#[test]
fn hostile_sizes_are_refused() {
    for (from, to) in [
        ("\"hidden_size\": 32", "\"hidden_size\": 0"),
        ("\"hidden_size\": 32", "\"hidden_size\": 33"),
        ("\"hidden_size\": 32", "\"hidden_size\": -32"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1e9"),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 0"),
        ("\"vocab_size\":", "\"vocab_size\": 99999999999, \"x\":"),
    ] {
        let (files, _folder) = reconfigured("bert-mean", from, to);
        assert!(describe(&files).is_err(), "{to}");
    }
    for (from, to) in [
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"),
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0"),
        ("\"head_dim\": 16", "\"head_dim\": 15"),
        ("\"head_dim\": 16", "\"head_dim\": 200000"),
        ("\"rope_theta\": 1000000.0", "\"rope_theta\": 0"),
        ("\"rope_theta\": 1000000.0", "\"rope_theta\": \"x\""),
    ] {
        let (files, _folder) = reconfigured("qwen3", from, to);
        assert!(describe(&files).is_err(), "{to}");
    }
    for (model, from, to) in [
        ("mistral", "\"sliding_window\": 12", "\"sliding_window\": 0"),
        (
            "mpnet",
            "\"relative_attention_num_buckets\": 32",
            "\"relative_attention_num_buckets\": 3",
        ),
        (
            "t5",
            "\"relative_attention_max_distance\": 128",
            "\"relative_attention_max_distance\": 2",
        ),
        ("t5", "\"d_kv\": 8", "\"d_kv\": 0"),
        ("gte-hub", "\"type_vocab_size\": 1", "\"type_vocab_size\": 1e30"),
        ("gemma", "\"query_pre_attn_scalar\": 12", "\"query_pre_attn_scalar\": 0"),
        ("llama-scaled", "\"factor\": 4.0", "\"factor\": 0"),
        ("nomic-moe", "\"moe_top_k\": 2", "\"moe_top_k\": 9"),
        ("nomic-moe", "\"num_experts\": 8", "\"num_experts\": 1e9"),
        ("deberta", "\"share_att_key\": false", "\"position_buckets\": 1"),
        ("rerank-deberta", "\"position_buckets\": 8", "\"position_buckets\": 200"),
        ("rerank-deberta", "\"position_buckets\": 8", "\"position_buckets\": 1e30"),
        ("jina2", "\"num_attention_heads\": 6", "\"num_attention_heads\": 7"),
    ] {
        let (files, _folder) = reconfigured(model, from, to);
        assert!(describe(&files).is_err(), "{model} {to}");
    }
    // A size that is possible but not that of the tensors fails when they are read.
    let (files, _folder) =
        reconfigured("bert-mean", "\"intermediate_size\": 48", "\"intermediate_size\": 64");
    assert!(load(&files, &Recipe::default()).is_err());
}

/// Found by tests/fuzz: the library of tokenizers panics at the first table, and would at a text because of the others.
#[test]
fn damaged_tables_of_characters_are_refused() {
    let step = |table: &str| json!({ "type": "Precompiled", "precompiled_charsmap": table });
    let mut files = files("xlm-roberta");
    let tokenizer = fs::read(&files["tokenizer.json"]).unwrap();
    let mut tokenizer: Value = serde_json::from_slice(&tokenizer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    files.insert("tokenizer.json".to_owned(), path.clone());
    for normalizer in [
        step("AAAA"),
        step("AAAAAA=="),
        json!({ "type": "Sequence", "normalizers": [step("BAAAAAEAAAA=")] }),
    ] {
        tokenizer["normalizer"] = normalizer;
        fs::write(&path, tokenizer.to_string()).unwrap();
        let error = load(&files, &Recipe::default()).err().unwrap().to_string();
        assert!(error.contains("tokenizer.json") && error.contains("damaged"), "{error}");
    }
}

/// Found by tests/fuzz: it looked for the tensors of an encoder.
#[test]
fn static_models_are_checked() {
    for model in ["static", "model2vec", "model2vec-mapped"] {
        assert_eq!(
            engine::check(&files(model), &Recipe::default()).map_err(|e| e.to_string()),
            Ok(())
        );
    }
}
