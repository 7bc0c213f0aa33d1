"""What do sentencepiece and the gguf package say of vocabularies that are not in a tokenizer.json?

`tokenizers/` holds models that sentencepiece trained, `cases.json` the ids that it gives, in the numbering of each class of
transformers; and GGUF files that the gguf package wrote of two tiny models, with the vectors that transformers computes from
the very weights in them.
"""

import base64
import json
import tempfile
from pathlib import Path

import gguf
import numpy as np
import sentencepiece as spm
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file
from sentencepiece import sentencepiece_model_pb2
from transformers import AutoConfig, AutoModel

import golden
import texts
import vocab

# Characters that become others: fullwidth letters, a ligature, a fraction, blanks.
RULES = [("Ａ", "A"), ("Ｂ", "B"), ("ﬁ", "fi"), ("½", "1⁄2"), ("\u3000", " "), ("\t", " "), ("\n", " "), ("①", "1"), ("e\u0301", "\u00e9")]
UNIGRAM, PAIRS = 290, 540
# What looks like a special token is one to transformers, and not to sentencepiece.
TEXTS = [text for text in texts.TINY if isinstance(text, str) and "<" not in text] + [
    "The licensor grants you a patent license under its essential patent claims, ",
    "ＡＢ ﬁne ① ½ caf\u0065\u0301",
    "a\tb c　d",
    "  ",
    "aaaa aaaaa aaaaaaa",
]


def make(models):
    """Trains the models and writes what they say."""
    folder = models.parent / "tokenizers"
    folder.mkdir(exist_ok=True)
    print("pieces")
    with tempfile.TemporaryDirectory() as scratch:
        corpus, rules = Path(scratch) / "corpus", Path(scratch) / "rules"
        corpus.write_text("\n".join(line for text in vocab.CORPUS for line in text.split("\n") if line.strip()))
        rows = ["{}\t{}\n".format(*(" ".join(f"{ord(c):X}" for c in side) for side in rule)) for rule in RULES]
        rules.write_text("".join(rows))
        train(corpus, folder / "unigram", "unigram", UNIGRAM, normalization_rule_tsv=str(rules))
        more = {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}
        train(corpus, folder / "pairs", "bpe", PAIRS, add_dummy_prefix=False, **more)
    prefixed = proto(folder / "pairs.model")
    prefixed.normalizer_spec.add_dummy_prefix = True
    (folder / "pairs-prefix.model").write_bytes(prefixed.SerializeToString())
    cases = {name: [{"text": text, "ids": ids(folder, text)} for text in TEXTS] for name, ids in CLASSES.items()}
    lines = [f"{json.dumps(name)}: {golden.rows(found)}" for name, found in cases.items()]
    (folder / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    write_roberta(models, folder)
    write_gemma(models, folder)
    write_blocks(folder)


def train(corpus, prefix, kind, size, **more):
    """Trains a model and keeps only the file of it."""
    more |= {"input": str(corpus), "model_prefix": str(prefix), "model_type": kind, "vocab_size": size, "minloglevel": 2}
    spm.SentencePieceTrainer.train(character_coverage=0.99, num_threads=1, **more)
    prefix.with_suffix(".vocab").unlink()
    path = prefix.with_suffix(".model")
    found = proto(path)
    for field in ["input", "model_prefix"]:
        found.trainer_spec.ClearField(field)
    found.normalizer_spec.ClearField("normalization_rule_tsv")
    path.write_bytes(found.SerializeToString())


def proto(path):
    """The protocol buffer of a model."""
    found = sentencepiece_model_pb2.ModelProto()
    found.ParseFromString(path.read_bytes())
    return found


def pieces(folder, name, text):
    """The ids of sentencepiece itself."""
    return spm.SentencePieceProcessor(str(folder / f"{name}.model")).EncodeAsIds(text)


def roberta(folder, text):
    """XLM-R: <s> <pad> </s> <unk>, then the pieces from the third on."""
    return [0] + [3 if piece == 0 else piece + 1 for piece in pieces(folder, "unigram", text)] + [2]


def camembert(folder, text):
    """CamemBERT: five tokens of its own, then the pieces from the first on, of which the first two are <s> and </s>."""
    return [5] + [3 if piece == 0 else piece + 4 for piece in pieces(folder, "unigram", text)] + [6]


def t5(folder, text):
    """T5: as they are, and the piece </s> behind."""
    return pieces(folder, "unigram", text) + [2]


def gemma(folder, text):
    """Gemma: a start, and here an end too."""
    return [1] + pieces(folder, "pairs", text) + [2]


def llama(folder, text):
    """Llama: a start alone, and a blank before the text."""
    return [1] + pieces(folder, "pairs-prefix", text)


CLASSES = {"xlm-roberta": roberta, "camembert": camembert, "t5": t5, "gemma": gemma, "llama": llama}


def vocabulary(writer, model, found, first, last):
    """Writes tokens, scores and kinds: `first` and `last` stand around the pieces that are taken."""
    tokens = [(text, 0.0, kind) for text, kind in first]
    tokens += [(piece.piece, piece.score, piece.type) for piece in found]
    tokens += [(text, 0.0, kind) for text, kind in last]
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    return len(tokens)


def finish(writer):
    """Writes the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


ROBERTA = [
    ("embeddings.word_embeddings", "token_embd"), ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.position_embeddings", "position_embd"), ("embeddings.LayerNorm", "token_embd_norm"),
    ("encoder.layer.", "blk."), ("attention.self.query", "attn_q"), ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"), ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"), ("intermediate.dense", "ffn_up"), ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
]  # fmt: skip


# Every type that the package can write; rows of 48 are not made of blocks.
KINDS = {
    "token_embd": Type.Q8_0, "attn_q": Type.Q4_0, "attn_k": Type.Q4_1, "attn_v": Type.Q5_0, "attn_output": Type.Q5_1,
    "ffn_up": Type.BF16, "ffn_down": Type.F16,
}  # fmt: skip


def write_roberta(models, folder):
    """XLM-R in blocks of every kind, and what transformers makes of these weights."""
    source, path = models / "xlm-roberta", folder / "xlm-roberta.gguf"
    weights = load_file(source / "model.safetensors")
    writer = gguf.GGUFWriter(str(path), "bert")
    model = proto(folder / "unigram.model")
    control = gguf.TokenType.CONTROL
    first = [("<s>", control), ("<pad>", control), ("</s>", control), ("<unk>", gguf.TokenType.UNKNOWN)]
    size = vocabulary(writer, "t5", model.pieces[3:], first, [("<mask>", control)])
    writer.add_precompiled_charsmap(model.normalizer_spec.precompiled_charsmap)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    writer.add_bos_token_id(0), writer.add_eos_token_id(2), writer.add_unk_token_id(3), writer.add_pad_token_id(1)
    writer.add_add_bos_token(True), writer.add_add_eos_token(True)
    config = json.loads((source / "config.json").read_text())
    for add, value in [
        (writer.add_block_count, config["num_hidden_layers"]), (writer.add_context_length, 64),
        (writer.add_embedding_length, config["hidden_size"]), (writer.add_head_count, config["num_attention_heads"]),
        (writer.add_feed_forward_length, config["intermediate_size"]), (writer.add_layer_norm_eps, 1e-5),
        (writer.add_file_type, gguf.LlamaFileType.MOSTLY_Q8_0), (writer.add_causal_attention, False),
        (writer.add_pooling_type, gguf.PoolingType.CLS), (writer.add_token_type_count, 1),
    ]:  # fmt: skip
        add(value)
    stored = {}
    for name, weight in weights.items():
        if "pooler" in name or "position_ids" in name:
            continue
        to, weight = name, weight.astype(np.float32)
        for old, new in ROBERTA:
            to = to.replace(old, new)
        if "word_embeddings" in name:
            weight = weight[:size]
        kind = Type.F32
        if weight.ndim == 2 and "token_types" not in to and "position_embd" not in to:
            kind = KINDS[to.split(".")[-2]]
        packed = gguf.quants.quantize(weight, kind)
        stored[name] = torch.from_numpy(np.ascontiguousarray(gguf.quants.dequantize(packed, kind)).astype(np.float32))
        if to == "position_embd.weight":
            packed = packed[2:]
        writer.add_tensor(to, packed, raw_dtype=kind)
    finish(writer)
    config = AutoConfig.from_pretrained(source)
    config.vocab_size = size
    encoder = AutoModel.from_config(config).eval()
    missing, unexpected = encoder.load_state_dict(stored, strict=False)
    assert not unexpected and all("pooler" in name or "position_ids" in name for name in missing), (missing, unexpected)
    found = []
    for text in TEXTS:
        ids = roberta(folder, text)
        ids = ids if len(ids) <= 64 else ids[:63] + [2]
        with torch.no_grad():
            vector = encoder(torch.tensor([ids])).last_hidden_state[0, 0].numpy()
        found.append({"text": text, "ids": ids, "embedding": golden.packed(vector)})
    (folder / "xlm-roberta.json").write_text('{\n"cases": ' + golden.rows(found) + "\n}\n")


GEMMA = [
    ("embed_tokens", "token_embd"), ("layers.", "blk."), ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"), ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"), ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"), ("post_feedforward_layernorm", "post_ffw_norm"),
]  # fmt: skip


def write_gemma(models, folder):
    """EmbeddingGemma in f16, for its tokens alone."""
    source = models / "gemma"
    writer = gguf.GGUFWriter(str(folder / "gemma.gguf"), "gemma-embedding")
    size = vocabulary(writer, "llama", proto(folder / "pairs.model").pieces, [], [])
    writer.add_add_space_prefix(False)
    writer.add_bos_token_id(1), writer.add_eos_token_id(2), writer.add_unk_token_id(0)
    writer.add_add_bos_token(True), writer.add_add_eos_token(True)
    config = json.loads((source / "config.json").read_text())
    for add, value in [
        (writer.add_block_count, config["num_hidden_layers"]), (writer.add_context_length, 64),
        (writer.add_embedding_length, config["hidden_size"]), (writer.add_head_count, config["num_attention_heads"]),
        (writer.add_head_count_kv, config["num_key_value_heads"]), (writer.add_key_length, config["head_dim"]),
        (writer.add_feed_forward_length, config["intermediate_size"]), (writer.add_layer_norm_rms_eps, 1e-6),
        (writer.add_sliding_window, config["sliding_window"]), (writer.add_rope_freq_base, 500000.0),
        (writer.add_file_type, gguf.LlamaFileType.MOSTLY_F16), (writer.add_pooling_type, gguf.PoolingType.MEAN),
    ]:  # fmt: skip
        add(value)
    for name, weight in load_file(source / "model.safetensors").items():
        to = "output_norm.weight" if name == "norm.weight" else name
        for old, new in GEMMA:
            to = to.replace(old, new)
        weight = weight[:size] if to.startswith("token_embd") else weight
        writer.add_tensor(to, (weight + 1 if to.endswith("norm.weight") else weight).astype(np.float16 if weight.ndim == 2 else np.float32))
    finish(writer)


def write_blocks(folder):
    """What blocks stand for that the package can read and not write: each of random bytes, with scales that are small."""
    random, lines = np.random.default_rng(7), []
    scales = {Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}
    for kind, places in scales.items():
        _, size = gguf.GGML_QUANT_SIZES[kind]
        block = random.integers(0, 256, (2, size), dtype=np.uint8)
        for place in places:
            block[:, place : place + 2] = random.normal(0, 0.01, (2, 1)).astype("<f2").view(np.uint8)
        values = gguf.quants.dequantize(block, kind).astype("<f4")
        assert np.isfinite(values).all()
        fields = {"type": kind.name, "bytes": packed(block), "values": packed(values)}
        lines.append(json.dumps(fields, separators=(",", ":")))
    (folder / "blocks.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def packed(array):
    """The base64 of the bytes of an array."""
    return base64.b64encode(array.tobytes()).decode()
