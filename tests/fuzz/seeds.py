"""Which inputs does each target begin with? Writes small valid ones, and words for dictionaries, into a folder."""

import json
import pathlib
import struct
import sys

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"
OUT = pathlib.Path(sys.argv[1])
HEX = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def seed(target, name, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def words(target, texts):
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"' for text in texts]
    (OUT / f"{target}.dict").write_text("\n".join(lines) + "\n")


def manifests():
    layer = {"mediaType": "application/vnd.vecuna.file", "digest": f"sha256:{HEX}", "size": 3, "from": "x"}
    titled = {**layer, "annotations": {"org.opencontainers.image.title": "1_Pooling/config.json", "other": "y"}}
    whole = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": layer,
             "layers": [titled, {**layer, "name": "a"}], "annotations": {"org.opencontainers.image.source": "hub"}}
    seed("manifest", "oci", json.dumps(whole))
    seed("manifest", "docker", json.dumps({**whole, "layers": None, "annotations": None, "artifactType": "t"}))
    words("manifest", [f"sha256:{HEX}", *whole, *titled, "artifactType", "name", "null", "\\u0000", "1e3",
                       "org.opencontainers.image.title"])


def modelfiles():
    commands = ["FROM", "ADAPTER", "DRAFT", "TEMPLATE", "SYSTEM", "RENDERER", "PARSER", "REQUIRES", "LICENSE"]
    text = "# a comment\nFROM a:b\n" + "".join(f"{word} 1.2.3\n" for word in commands)
    text += 'PARAMETER num_ctx 256\nPARAMETER stop "a "\nPARAMETER temperature 0.7\nMESSAGE user """a\n"b"\n"""\n'
    seed("modelfile", "all", text)
    seed("modelfile", "wide", b"\xff\xfe" + text.encode("utf-16-le"))
    seed("modelfile", "quotes", 'FROM "a b"\nSYSTEM """"a"\n\n c"""\nTEMPLATE "\n"\nLICENSE \t"x\r\ny "\n')
    words("modelfile", [f"\n{word} " for word in [*commands, "PARAMETER", "MESSAGE"]] +
          ["user ", "assistant ", "system ", '"""', "\r\n", "stop ", "num_ctx ", "temperature ", "query_prompt ",
           "mirostat ", "penalize_newline ", "true", "nan", "1e999", "\u00a0", "\u2028", "v1.2.3-rc.1+b"])


def names():
    for number, text in enumerate(["all-minilm", "https://hf.co/a-b/c.d:e-f", "registry.ollama.ai/library/x:latest",
                                   "localhost:11434/a/b", "b:local", "c:1b-cloud", f"sha256:{HEX}",
                                   f"sha256-{HEX.upper()}"]):
        seed("name", str(number), text)
    words("name", ["://", "sha256:", "sha256-", ":local", ":cloud", "-cloud", "registry.ollama.ai/", "library/", "..",
                   "\u0130", "\u017f"])


def safetensors():
    def header(path):
        data = (GOLDENS / "models" / path).read_bytes()
        return data[8:8 + struct.unpack("<Q", data[:8])[0]]

    def tensors(**shapes):
        found, at = {}, 0
        for name, (dtype, size, shape) in shapes.items():
            bytes_ = size
            for side in shape:
                bytes_ *= side
            found[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes_]}
            at += bytes_
        return json.dumps(found).encode()

    seed("safetensors", "static", b"\x01" + tensors(embeddings=("F32", 4, [200, 2])))
    seed("safetensors", "mapped", b"\x03" + tensors(
        embeddings=("F16", 2, [20, 2]), mapping=("I64", 8, [200]), weights=("F64", 8, [200])))
    seed("safetensors", "mapped-golden", b"\x03" + header("model2vec-mapped/model.safetensors"))
    seed("safetensors", "bert", b"\x05" + header("bert-plain/model.safetensors"))
    small = tensors(embeddings=("BF16", 2, [200, 1]))
    seed("safetensors", "whole", b"\x00" + struct.pack("<Q", len(small)) + small + bytes(400))
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00003.safetensors",
                                            "b": "model-00002-of-00003.safetensors"}}
    seed("safetensors", "index", b"\x07" + json.dumps(index).encode())
    words("safetensors", ["__metadata__", "dtype", "shape", "data_offsets", "weight_map", "embeddings", "mapping",
                          "weights", "embedding.weight", "F64", "F32", "F16", "BF16", "I64", "I32", "U8", "U32",
                          "BOOL", "F8_E4M3", "C64", "[]", "[0,0]", "18446744073709551615", "4294967296"])


class Gguf:
    """A header, as ggml's docs/gguf.md has it; the target puts zeros where values of tensors would stand."""

    def __init__(self, architecture, pieces, tokenizer, **more):
        self.values, self.tensors, self.at = [], [], 0
        self.architecture = architecture
        self.put("general.architecture", architecture)
        sizes = {"embedding_length": 16, "block_count": 1, "feed_forward_length": 32, "attention.head_count": 2,
                 "context_length": 64, "attention.layer_norm_epsilon": 1e-5,
                 "attention.layer_norm_rms_epsilon": 1e-5, "attention.head_count_kv": 1, "rope.freq_base": 1e4}
        for key, value in {**sizes, **more}.items():
            self.put(f"{architecture}.{key}", value)
        self.put("tokenizer.ggml.model", tokenizer)
        self.put("tokenizer.ggml.tokens", pieces)
        self.put("tokenizer.ggml.token_type", [3 if piece[0] in "<[" else 1 for piece in pieces])
        self.put("tokenizer.ggml.scores", [-float(place) for place in range(len(pieces))])

    def put(self, key, value):
        self.values.append(self.text(key) + self.value(value))
        return self

    @staticmethod
    def text(text):
        return struct.pack("<Q", len(text.encode())) + text.encode()

    def value(self, value):
        if isinstance(value, list):
            kind = self.value(value[0])[:4]
            return struct.pack("<I", 9) + kind + struct.pack("<Q", len(value)) + b"".join(
                self.value(one)[4:] for one in value)
        if isinstance(value, bool):
            return struct.pack("<IB", 7, value)
        if isinstance(value, str):
            return struct.pack("<I", 8) + self.text(value)
        return struct.pack("<II", 4, value) if isinstance(value, int) else struct.pack("<If", 6, value)

    def tensor(self, name, *shape, kind=0):
        places = struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", side) for side in reversed(shape))
        self.tensors.append(self.text(name) + places + struct.pack("<IQ", kind, self.at))
        size = {0: 4, 1: 2}.get(kind)
        for side in shape:
            size *= side
        self.at += -(-size // 32) * 32
        return self

    def layer(self, names):
        for name, shape in names.items():
            self.tensor(f"blk.0.{name}.weight", *shape)
        return self

    def bytes(self):
        counts = struct.pack("<QQ", len(self.tensors), len(self.values))
        return b"GGUF\x03\0\0\0" + counts + b"".join(self.values + self.tensors)


def ggufs():
    bert_words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2581why", "\u2581is", "\u2581sky", "s", "\u2581a"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", "\u2581a", "a", "why", "is", "<mask>"]
    bytes_ = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(0, 256, 51)] + ["\u2581", "a", "\u2581a"]
    pairs = ["<|endoftext|>", "a", "s", "i", "\u0120", "\u0120a", "is", "\u0120is"]

    def bert(pieces, tokenizer):
        file = Gguf("bert", pieces, tokenizer, pooling_type=1)
        file.tensor("token_embd.weight", len(pieces), 16).tensor("token_types.weight", 2, 16)
        file.tensor("position_embd.weight", 64, 16)
        for norm in ["token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"]:
            file.tensor(f"{norm}.weight", 16).tensor(f"{norm}.bias", 16)
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            file.tensor(f"blk.0.{name}.weight", 16, 16, kind=1).tensor(f"blk.0.{name}.bias", 16)
        file.tensor("blk.0.ffn_up.weight", 32, 16).tensor("blk.0.ffn_up.bias", 32)
        return file.tensor("blk.0.ffn_down.weight", 16, 32).tensor("blk.0.ffn_down.bias", 16)

    def decoder(architecture, pieces, tokenizer, **more):
        file = Gguf(architecture, pieces, tokenizer, **more)
        file.tensor("token_embd.weight", len(pieces), 16).tensor("output_norm.weight", 16)
        norms = ["attn_norm", "ffn_norm"]
        if architecture.startswith("gemma"):
            norms += ["post_attention_norm", "post_ffw_norm"]
        file.layer({norm: [16] for norm in norms})
        if architecture in ("qwen3", "gemma3", "gemma-embedding"):
            file.layer({"attn_q_norm": [8], "attn_k_norm": [8]})
        return file.layer({"attn_q": [16, 16], "attn_k": [8, 16], "attn_v": [8, 16], "attn_output": [16, 16],
                           "ffn_gate": [32, 16], "ffn_up": [32, 16], "ffn_down": [16, 32]})

    head = {"attention.key_length": 8, "attention.value_length": 8}
    files = {
        "bert": bert(bert_words, "bert").put("tokenizer.ggml.cls_token_id", 2),
        "xlm": bert(pieces, "t5").put("tokenizer.ggml.add_eos_token", True),
        "gpt2": bert(pairs, "gpt2").put("tokenizer.ggml.merges", ["i s", "\u0120 a", "\u0120 is"]),
        "llama": decoder("llama", bytes_, "llama").put("tokenizer.ggml.add_bos_token", True),
        # Not with the words of Qwen: to compile their pattern takes longer than all else.
        "qwen3": decoder("qwen3", pairs, "gpt2", **head).put("tokenizer.ggml.add_eos_token", True),
        "gemma": decoder("gemma-embedding", bytes_, "llama", **head, **{"attention.sliding_window": 4}),
        "map": bert(pieces, "t5").put("tokenizer.ggml.precompiled_charsmap", ["AAAA", "AA=="]),
    }
    for name, file in files.items():
        seed("gguf", name, b"\x01" + file.bytes())
        seed("gguf", f"{name}-whole", b"\x00" + file.bytes() + bytes(file.at + 32))
    keys = ["block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length",
            "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.sliding_window",
            "attention.sliding_window_pattern", "attention.relative_buckets_count", "rope.freq_base",
            "rope.scaling.type", "rope.scaling.factor", "pooling_type", "expert_count", "expert_used_count",
            "moe_every_n_layers", "attention.causal", "normalize_embeddings", "dense_2.weight", "attn_rel_b",
            "general.alignment", "general.file_type", "tokenizer.ggml.add_space_prefix", "yarn", "linear",
            "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.mask_token_id", "tokenizer.ggml.bos_token_id",
            "tokenizer.ggml.eos_token_id", "tokenizer.ggml.pre", "modern-bert", "roberta-bpe"]
    names = ["bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "llama", "llama-embed", "qwen2", "qwen3",
             "gemma3", "gemma-embedding", "t5encoder"]
    words("gguf", keys + names)


def tokenizers():
    for model in ["bert-plain", "llama", "t5", "roberta", "gemma"]:
        whole = json.loads((GOLDENS / "models" / model / "tokenizer.json").read_text())
        seed("tokenizer", model, b"\x00" + json.dumps(whole, separators=(",", ":")).encode())
    seed("tokenizer", "pairs", b"\x05" + (GOLDENS / "tokenizers" / "pairs.model").read_bytes())
    cls = {"id": 2, "content": "[CLS]", "special": True, "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False}
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##a": 5, "is": 6, "i": 7, "s": 8}
    template = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    models = {
        "piece": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
        "level": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary},
        "bpe": {"type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": None,
                "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "vocab": vocabulary,
                "merges": [["i", "s"]]},
        "unigram": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                    "vocab": [["<unk>", 0.0], ["a", -1.0], ["\u2581", -2.0]]},
    }
    normal = [None, {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                     "strip_accents": None, "lowercase": True},
              {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Prepend", "prepend": "\u2581"},
                                                   {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]},
              {"type": "Precompiled", "precompiled_charsmap": "AAAA"}]
    cut = [{"type": "BertPreTokenizer"}, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
           {"type": "Split", "pattern": {"Regex": "\\s+|a"}, "behavior": "Isolated", "invert": False},
           {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}]
    for (name, model), normalizer, before in zip(models.items(), normal, cut):
        decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
        whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [cls],
                 "normalizer": normalizer, "pre_tokenizer": before, "post_processor": template, "decoder": decoder,
                 "model": model}
        if name == "unigram":
            whole |= {"post_processor": None, "decoder": None, "added_tokens": []}
        seed("tokenizer", name, b"\x00" + json.dumps(whole, separators=(",", ":")).encode())
    seed("tokenizer", "lines", b"\x01[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nis\nwhy\n")
    seed("tokenizer", "merges", b'\x02{"<s>":0,"</s>":1,"a":2,"s":3,"i":4,"is":5,"\xc4\xa0":6}#version: 0.2\ni s\n')
    sentencepiece()
    kinds = ["NFC", "NFD", "NFKD", "Nmt", "Lowercase", "Strip", "StripAccents", "Prepend", "Replace", "ByteLevel",
             "Whitespace", "WhitespaceSplit", "Punctuation", "Digits", "UnicodeScripts", "FixedLength", "Sequence",
             "RobertaProcessing", "TemplateProcessing", "ByteFallback", "Fuse", "CTC", "BPEDecoder", "MergedWith",
             "Removed", "Contiguous", "Regex", "String", "ignore_merges", "max_input_chars_per_word"]
    words("tokenizer", kinds + ["null", "true", "4294967295", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "##", "\u2581"])


def sentencepiece():
    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    def piece(text, kind):
        return field(1, field(1, text.encode()) + b"\x15\0\0\x80\xbf" + bytes([0x18, kind]))

    pieces = piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("\u2581", 1) + piece("a", 1)
    pieces += piece("\u2581a", 1) + piece("<0x41>", 6) + piece("why", 4)
    for place, algorithm in [(3, 1), (4, 1), (5, 2)]:
        trainer = field(2, bytes([0x18, algorithm]))
        units = [0] * 256
        units[ord("a")] = ord("a") | 1 << 8 | 1 << 10
        units[ord("a") ^ 1] = 1 << 31
        trie = struct.pack("<256I", *units)
        charsmap = struct.pack("<I", len(trie)) + trie + b"bc\0"
        inner = b"\x12" + bytes([len(charsmap) & 127 | 128, len(charsmap) >> 7]) + charsmap + b"\x18\x01"
        normalizer = b"\x1a" + bytes([len(inner) & 127 | 128, len(inner) >> 7]) + inner
        seed("tokenizer", f"proto{place}", bytes([place]) + pieces + trainer + normalizer)


manifests()
modelfiles()
names()
safetensors()
ggufs()
tokenizers()
