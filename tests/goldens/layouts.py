"""How do older releases and other savers lay out a model folder?

Each function rewrites a folder, as sentence-transformers 6 saved it, in place.
"""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

STAYING = {"modules.json", "config_sentence_transformers.json"}
POOLINGS = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
WEIGHTS = "model.safetensors"


def old(folder):
    """sentence-transformers 2 to 5 on transformers 4, with a tokenizer.json that was saved with padding and truncation."""
    old_modules(folder, "", ["mean_tokens"])
    sentence = {"max_seq_length": 48, "do_lower_case": True}
    put(folder / "sentence_bert_config.json", sentence)
    old_config(folder)
    tokenizer = get(folder / "tokenizer.json")
    tokenizer["truncation"] = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
    tokenizer["padding"] = {
        "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }
    put(folder / "tokenizer.json", tokenizer)


def oldest(folder):
    """The transformer in its own folder, weights pickled by torch.save, two poolings said by booleans."""
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in [file for file in folder.iterdir() if file.is_file() and file.name not in STAYING]:
        file.rename(inner / file.name)
    old_modules(folder, inner.name, ["max_tokens", "weightedmean_tokens"])
    put(inner / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    old_config(inner)
    weights = load_file(inner / WEIGHTS)
    weights["embeddings.position_ids"] = torch.arange(64).unsqueeze(0)
    torch.save(weights, inner / "pytorch_model.bin")
    (inner / WEIGHTS).unlink()


def plain(folder):
    """A transformers model that never met sentence-transformers; its tokenizer knows no limit."""
    for name in ["modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"]:
        (folder / name).unlink()
    for module in [path for path in folder.iterdir() if path.is_dir()]:
        shutil.rmtree(module)
    tokens = get(folder / "tokenizer_config.json")
    put(folder / "tokenizer_config.json", tokens | {"model_max_length": int(1e30)})


def sharded(folder):
    """Weights in several files, with an index."""
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    parts = [names[0::3], names[1::3], names[2::3]]
    index = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in weights.values())
    put(folder / f"{WEIGHTS}.index.json", {"metadata": {"total_size": size}, "weight_map": index})
    (folder / WEIGHTS).unlink()


def half(folder):
    """Weights in f16."""
    weights = load_file(folder / WEIGHTS)
    save_file({name: tensor.half() for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})
    put(folder / "config.json", get(folder / "config.json") | {"dtype": "float16"})


def qwen(folder):
    """Qwen3-Embedding: weights in bf16 and the config.json of transformers 4, under the old layout."""
    weights = load_file(folder / WEIGHTS)
    save_file({name: tensor.bfloat16() for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})
    config = get(folder / "config.json")
    del config["dtype"], config["layer_types"]
    theta = config.pop("rope_parameters")["rope_theta"]
    config |= {"architectures": ["Qwen3ForCausalLM"], "rope_scaling": None, "rope_theta": theta}
    config |= {"sliding_window": None, "torch_dtype": "bfloat16", "transformers_version": "4.51.3"}
    put(folder / "config.json", config)
    prompts = get(folder / "config_sentence_transformers.json")["prompts"]
    old_modules(folder, "", ["lasttoken"])
    (folder / "sentence_bert_config.json").unlink()
    versions = get(folder / "config_sentence_transformers.json")
    put(folder / "config_sentence_transformers.json", versions | {"prompts": prompts, "default_prompt_name": None})


def decoder(folder):
    """A language model that never met sentence-transformers: its names have a prefix."""
    plain(folder)
    weights = load_file(folder / WEIGHTS)
    save_file({f"model.{name}": tensor for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})
    put(folder / "config.json", get(folder / "config.json") | {"architectures": ["Qwen3ForCausalLM"]})


def pretraining(folder):
    """Tensor names of the first BERT checkpoints: a prefix, gamma and beta, and tensors that embedding does not use."""
    weights = {}
    for name, tensor in load_file(folder / WEIGHTS).items():
        for new, first in [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")]:
            name = name.replace(new, first)
        weights[f"bert.{name}"] = tensor
    width = weights["bert.pooler.dense.bias"].shape[0]
    weights["bert.embeddings.position_ids"] = torch.arange(64).unsqueeze(0)
    weights["cls.predictions.transform.LayerNorm.gamma"] = torch.full((width,), 2.0)
    weights["cls.predictions.bias"] = torch.zeros(weights["bert.embeddings.word_embeddings.weight"].shape[0])
    weights["cls.seq_relationship.weight"] = torch.ones(2, width)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    put(folder / "config.json", get(folder / "config.json") | {"architectures": ["BertForPreTraining"]})


def old_modules(folder, transformer, poolings):
    """modules.json, pooling and version file as they were before sentence-transformers 6."""
    kinds = [("Transformer", transformer), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(kinds)
    ]
    put(folder / "modules.json", modules)
    width = get(folder / "1_Pooling" / "config.json")["embedding_dimension"]
    switches = {f"pooling_mode_{name}": name in poolings for name in POOLINGS}
    put(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width} | switches)
    shutil.rmtree(folder / "2_Normalize", ignore_errors=True)
    versions = {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}
    put(folder / "config_sentence_transformers.json", {"__version__": versions})


def pooled(folder, width, pooling, limit):
    """Makes of a transformers model what sentence-transformers 2 to 5 wrote, with one pooling, normalised."""
    (folder / "1_Pooling").mkdir()
    put(folder / "1_Pooling" / "config.json", {"embedding_dimension": width})
    old_modules(folder, "", [pooling])
    put(folder / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})


def old_config(folder):
    """The config.json and tokenizer_config.json of transformers 4."""
    config = get(folder / "config.json")
    del config["dtype"]
    config |= {"_name_or_path": "someone/tiny-bert", "gradient_checkpointing": False, "torch_dtype": "float32"}
    config |= {"position_embedding_type": "absolute", "transformers_version": "4.6.1"}
    put(folder / "config.json", config)
    tokens = get(folder / "tokenizer_config.json")
    specials = {name: token for name, token in tokens.items() if name.endswith("_token")}
    cased = not get(folder / "tokenizer.json")["normalizer"]["lowercase"]
    rest = {"do_lower_case": not cased, "tokenize_chinese_chars": True, "strip_accents": None}
    put(folder / "tokenizer_config.json", rest | specials | {"model_max_length": 512, "tokenizer_class": "BertTokenizer"})
    put(folder / "special_tokens_map.json", specials)


def get(path):
    """Reads a JSON file."""
    return json.loads(path.read_text())


def put(path, value):
    """Writes a JSON file."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
