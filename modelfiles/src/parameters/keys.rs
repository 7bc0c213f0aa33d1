//! Which keys does `PARAMETER` know, and of what type is each?

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    /// A whole number of at least one.
    Count,
    Float,
    Bool,
    Text,
    List,
    Pooling,
    Side,
    Precision,
    Rerank,
    KeepAlive,
}

/// Ollama's keys, then ours.
///
/// Ollama's generation settings mean nothing to an encoder, but a Modelfile that sets them must
/// still work.
const KEYS: [(&str, Kind); 32] = [
    ("draft_num_predict", Kind::Int),
    ("frequency_penalty", Kind::Float),
    ("main_gpu", Kind::Int),
    ("min_p", Kind::Float),
    ("num_batch", Kind::Int),
    ("num_ctx", Kind::Int),
    ("num_gpu", Kind::Int),
    ("num_keep", Kind::Int),
    ("num_predict", Kind::Int),
    ("num_thread", Kind::Int),
    ("presence_penalty", Kind::Float),
    ("repeat_last_n", Kind::Int),
    ("repeat_penalty", Kind::Float),
    ("seed", Kind::Int),
    ("stop", Kind::List),
    ("temperature", Kind::Float),
    ("top_k", Kind::Int),
    ("top_p", Kind::Float),
    ("typical_p", Kind::Float),
    ("use_mmap", Kind::Bool),
    // Ours; recipe.rs says what each one means.
    ("dimensions", Kind::Count),
    ("document_prompt", Kind::Text),
    ("keep_alive", Kind::KeepAlive),
    ("max_tokens", Kind::Count),
    ("normalize", Kind::Bool),
    ("pin", Kind::Bool),
    ("pooling", Kind::Pooling),
    ("precision", Kind::Precision),
    ("prompt", Kind::Text),
    ("query_prompt", Kind::Text),
    ("rerank", Kind::Rerank),
    ("truncation_side", Kind::Side),
];

/// Keys that Ollama once had; it warns about them and drops them.
const DEPRECATED: [&str; 9] = [
    "f16_kv",
    "logits_all",
    "low_vram",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "penalize_newline",
    "use_mlock",
    "vocab_only",
];

/// Returns whether a Modelfile may set a key although it has no meaning any more.
pub fn is_deprecated(key: &str) -> bool {
    DEPRECATED.contains(&key)
}

pub(super) fn kind(key: &str) -> Option<Kind> {
    KEYS.iter().find(|(name, _)| *name == key).map(|(_, kind)| *kind)
}
