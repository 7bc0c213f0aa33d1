"""How are the encoders built whose architecture is not BERT's own?

Each function gives what `Tiny` wants: a function from the size of the vocabulary to an encoder.
"""

import transformers

GEMMA_ROPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 5e5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
MODERN_ROPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 8e4},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}


def build(kind, width=24, heads=3, layers=2, head="Model", ends=None, **more):
    """An encoder of transformers by the name of its family; `ends` are token ids counted from the end of the vocabulary."""
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers, "intermediate_size": 3 * width // 2}
    config, model = getattr(transformers, f"{kind}Config"), getattr(transformers, f"{kind}{head}")
    more = {"max_position_embeddings": 64} | sizes | more
    ends = ends or {}
    return lambda size: model(config(vocab_size=size, **more, **{name: size - back for name, back in ends.items()}))


def mpnet():
    """MPNet: positions as RoBERTa's, and learned biases for distances."""
    return build("MPNet", max_position_embeddings=66)


def deberta():
    """DeBERTa-v2 in the form that no known model has: positions too, a row for each distance, and layers of their own for these."""
    distances = {"relative_attention": True, "max_relative_positions": 20, "pos_att_type": "c2p|p2c", "share_att_key": False}
    return build("DebertaV2", pad_token_id=0, layer_norm_eps=1e-7, type_vocab_size=2, **distances)


def nomic():
    """nomic-embed-text: BERT with rotated positions and SwiGLU, and hardly a bias."""
    return build("NomicBert", rope_parameters=rope(100.0), layer_norm_eps=1e-5)


def gte(**more):
    """GTE: BERT with rotated positions and a gated GELU."""
    return build("Gte", **{"rope_parameters": rope(500.0), "pad_token_id": 1, **more})


def gte_ntk():
    """GTE as in gte-large-en-v1.5: no token types, and the rotation stretched."""
    return gte(rope_parameters=ntk(50.0, 8.0, 8), type_vocab_size=0, pad_token_id=0)


def llama_scaled():
    """A Llama whose slow rotations are slower than the base says."""
    scaled = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    return decoder("Llama", head_dim=8, rope_parameters=rope(100.0, rope_type="llama3", **scaled))


def rope(theta, **more):
    """The parameters of rotated positions."""
    return {"rope_type": "default", "rope_theta": theta, **more}


def ntk(theta, factor, head):
    """What `rope_scaling` ntk of GTE's own code comes to: a larger base, and all angles divided by one number."""
    return rope(theta * factor, rope_type="linear", factor=factor ** (2 / head))


def modernbert(**more):
    """ModernBERT: every third layer sees all tokens, the others 4 to each side."""
    ends = {"bos_token_id": 4, "cls_token_id": 4, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 2}
    sizes = {"width": 16, "heads": 2, "layers": 4}
    return build("ModernBert", **{"local_attention": 8, "rope_parameters": MODERN_ROPE, "ends": ends} | sizes | more)


def t5(**more):
    """The encoder of a T5."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 3, "decoder_start_token_id": 0}
    return lambda size: transformers.T5EncoderModel(transformers.T5Config(vocab_size=size, **sizes, **more))


def decoder(kind, **more):
    """A language model whose query heads share keys and values."""
    sizes = {"width": 16, "heads": 4, "num_key_value_heads": 2, "rope_parameters": rope(1e3)}
    return build(kind, **{"bos_token_id": None, "eos_token_id": None} | sizes | more)


def gemma():
    """EmbeddingGemma: two layers that see 4 tokens to each side, one that sees all of them."""
    layers = ["sliding_attention", "sliding_attention", "full_attention"]
    more = {"head_dim": 8, "num_key_value_heads": 1, "query_pre_attn_scalar": 12, "sliding_window": 8}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    both = {"use_bidirectional_attention": True, "rope_parameters": GEMMA_ROPE, "layer_types": layers}
    return build("Gemma3Text", width=16, heads=2, layers=3, **more, **ids, **both)


def eurobert():
    """EuroBERT: a Llama that sees both ways."""
    ends = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 1, "mask_token_id": 1}
    return build("EuroBert", width=16, heads=4, num_key_value_heads=2, rope_parameters=rope(1e3), ends=ends)


def jina3():
    """jina-embeddings-v3: XLM-RoBERTa with rotated positions."""
    return build("JinaEmbeddingsV3", rope_parameters=rope(200.0))
