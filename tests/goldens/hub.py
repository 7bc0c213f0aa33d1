"""How do models lie on the hub that were put there before transformers knew them, or knew them otherwise?

Each function rewrites a folder, as sentence-transformers 6 saved it, in place. The names of tensors are already those of
the hub, as transformers 5 writes them so: only prefixes and the tensors that embedding does not use are missing.
"""

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from layouts import WEIGHTS, get, put

ADAPTERS = ["retrieval.query", "retrieval.passage", "text-matching"]
RANK = 2


def nomic(folder):
    """nomic-embed-text-v1.5: the keys of GPT-2."""
    ours = get(folder / "config.json")
    config = {
        "activation_function": "swiglu", "architectures": ["NomicBertModel"], "attn_pdrop": 0.0,
        "auto_map": auto_map("nomic-ai/nomic-bert-2048", "hf_nomic_bert", "NomicBert"),
        "bos_token_id": None, "causal": False, "dense_seq_output": True, "embd_pdrop": 0.0, "eos_token_id": None,
        "fused_bias_fc": True, "fused_dropout_add_ln": True, "initializer_range": 0.02,
        "layer_norm_epsilon": ours["layer_norm_eps"], "max_trained_positions": 64, "mlp_fc1_bias": False, "mlp_fc2_bias": False,
        "model_type": "nomic_bert", "n_embd": ours["hidden_size"], "n_head": ours["num_attention_heads"],
        "n_inner": ours["intermediate_size"], "n_layer": ours["num_hidden_layers"], "n_positions": 64,
        "pad_vocab_size_multiple": 64, "parallel_block": False, "parallel_block_tied_norm": False, "prenorm": False,
        "qkv_proj_bias": False, "reorder_and_upcast_attn": False, "resid_pdrop": 0.0,
        "rotary_emb_base": int(ours["rope_parameters"]["rope_theta"]), "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None,
        "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "summary_activation": None,
        "summary_first_dropout": 0.0, "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "torch_dtype": "float32", "transformers_version": "4.37.2", "type_vocab_size": 2, "use_cache": True,
        "use_flash_attn": True, "use_rms_norm": False, "use_xentropy": True, "vocab_size": ours["vocab_size"],
    }
    put(folder / "config.json", config)


def gte(folder):
    """gte-multilingual-base and gte-large-en-v1.5: another type, the rotation said by two keys, a prefix."""
    config = old_keys(folder, "4.41.2")
    rope = config.pop("rope_parameters")
    theta, scaling = rope["rope_theta"], None
    if rope["rope_type"] == "linear":
        theta, scaling = theta / 8, {"factor": 8.0, "type": "ntk"}
    config |= {
        "architectures": ["NewModel"], "auto_map": auto_map("Alibaba-NLP/new-impl", "", "New"), "model_type": "new",
        "layer_norm_type": "layer_norm", "logn_attention_clip1": False, "logn_attention_scale": False, "pack_qkv": True,
        "position_embedding_type": "rope", "rope_scaling": scaling, "rope_theta": theta, "unpad_inputs": False,
        "use_memory_efficient_attention": False,
    }
    put(folder / "config.json", config)
    more = {"classifier.weight": torch.ones(1, config["hidden_size"]), "classifier.bias": torch.zeros(1)}
    prefixed(folder, "new.", more if config["type_vocab_size"] else {})


def modern(folder):
    """ModernBERT-base: a masked language model, its layers said by a number, its rotations by two keys."""
    config = old_keys(folder, "4.48.0")
    rope = config.pop("rope_parameters")
    del config["layer_types"]
    config |= {
        "architectures": ["ModernBertForMaskedLM"], "global_attn_every_n_layers": 3, "layer_norm_eps": config["norm_eps"],
        "global_rope_theta": rope["full_attention"]["rope_theta"], "local_rope_theta": rope["sliding_attention"]["rope_theta"],
        "position_embedding_type": "absolute", "reference_compile": False,
    }
    put(folder / "config.json", config)
    width, size = config["hidden_size"], config["vocab_size"]
    head = {"head.dense.weight": torch.ones(width, width), "head.norm.weight": torch.ones(width)}
    prefixed(folder, "model.", head | {"decoder.bias": torch.zeros(size)})


def whole_t5(folder):
    """flan-t5: the encoder is half of the checkpoint."""
    config = old_keys(folder, "4.23.1")
    del config["dense_act_fn"], config["is_gated_act"], config["is_decoder"]
    config |= {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True, "use_cache": True}
    config |= {"model_type": "t5", "n_positions": 512, "output_past": True}
    put(folder / "config.json", config)
    width, size = config["d_model"], config["vocab_size"]
    more = {"decoder.final_layer_norm.weight": torch.ones(width), "lm_head.weight": torch.zeros(size, width)}
    more["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = torch.ones(32, config["num_heads"])
    more["decoder.block.0.layer.0.layer_norm.weight"] = torch.ones(width)
    weights = load_file(folder / WEIGHTS)
    more["encoder.embed_tokens.weight"] = weights["shared.weight"].clone()
    prefixed(folder, "", more)


def both_ways(folder):
    """gte-Qwen2: a language model whose tokens see those behind them too."""
    config = flat_rope(old_keys(folder, "4.41.2"))
    del config["layer_types"]
    config |= {"architectures": ["Qwen2ForCausalLM"], "is_causal": False, "sliding_window": 131072, "use_cache": True}
    config["auto_map"] = {"AutoModel": "modeling_qwen.Qwen2Model", "AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM"}
    put(folder / "config.json", config)
    prefixed(folder, "model.", {"lm_head.weight": torch.zeros(config["vocab_size"], config["hidden_size"])})


def gemma(folder):
    """embeddinggemma-300m: the rotations said by two keys."""
    config = old_keys(folder, "4.57.0")
    rope = config.pop("rope_parameters")
    config |= {"rope_local_base_freq": rope["sliding_attention"]["rope_theta"], "rope_scaling": None, "use_cache": True}
    put(folder / "config.json", config | {"rope_theta": rope["full_attention"]["rope_theta"]})


def eurobert(folder):
    """EuroBERT-210m: a masked language model."""
    config = flat_rope(old_keys(folder, "4.40.0.dev0"))
    config |= {"architectures": ["EuroBertForMaskedLM"], "clf_pooling": "late", "mask_token": "<|mask|>", "pad_token": "<|pad|>"}
    config["auto_map"] = auto_map("EuroBERT/EuroBERT-210m", "eurobert", "EuroBert")
    put(folder / "config.json", config)
    prefixed(folder, "model.", {"lm_head.weight": torch.zeros(config["vocab_size"], config["hidden_size"])})


def jina3(folder):
    """jina-embeddings-v3: calls itself XLM-RoBERTa, and every matrix has a pair of small ones for each task."""
    config = old_keys(folder, "4.30.2")
    theta = config.pop("rope_parameters")["rope_theta"]
    repository = "jinaai/xlm-roberta-flash-implementation"
    config |= {
        "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "emb_pooler": "mean",
        "auto_map": {"AutoConfig": f"{repository}--configuration_xlm_roberta.XLMRobertaFlashConfig",
                     "AutoModel": f"{repository}--modeling_lora.XLMRobertaLoRA"},
        "lora_adaptations": ADAPTERS, "lora_alpha": 1, "lora_dropout_p": 0.0, "lora_main_params_trainable": False,
        "lora_rank": RANK, "load_trained_adapters": True, "matryoshka_dimensions": [8, 24],
        "position_embedding_type": "rotary", "rotary_emb_base": theta, "truncate_dim": None,
        "task_instructions": dict.fromkeys(ADAPTERS, ""), "use_flash_attn": True, "use_reg_tokens": False,
    }
    put(folder / "config.json", config)
    weights = {}
    for name, tensor in load_file(folder / WEIGHTS).items():
        if tensor.dim() == 1:
            weights[f"roberta.{name}"] = tensor
            continue
        inside = f"roberta.{name.removesuffix('weight')}parametrizations.weight"
        first, second = adapters(name, tensor)
        weights |= {f"{inside}.original": tensor, f"{inside}.0.lora_A": first, f"{inside}.0.lora_B": second}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    modules = get(folder / "modules.json")
    modules[0]["type"] = "custom_st.Transformer"
    put(folder / "modules.json", modules)


def adapters(name, tensor):
    """The small matrices of a tensor for every task: what they add is B A for a linear map and A B for a table."""
    rows, columns = tensor.shape
    numbers = np.random.default_rng(sum(name.encode()))
    tables = "embeddings" in name
    first, second = ((rows, RANK), (RANK, columns)) if tables else ((RANK, columns), (rows, RANK))
    made = [numbers.normal(0.0, 0.4, (len(ADAPTERS), *shape)) for shape in (first, second)]
    return [torch.from_numpy(values).float() for values in made]


def adapted(name, tensor, task):
    """A tensor of the encoder as a task changes it."""
    first, second = (values[task] for values in adapters(name, tensor))
    product = first @ second if "embeddings" in name else second @ first
    return tensor + product / RANK


def auto_map(repository, file, family):
    """Where the code of a family lies."""
    ending = f"_{file}" if file else ""
    parts = {"AutoConfig": ("configuration", "Config"), "AutoModel": ("modeling", "Model")}
    return {auto: f"{repository}--{kind}{ending}.{family}{name}" for auto, (kind, name) in parts.items()}


def old_keys(folder, version):
    """A config.json as transformers 4 begins it."""
    config = get(folder / "config.json")
    kind = config.pop("dtype")
    return config | {"torch_dtype": kind, "transformers_version": version}


def flat_rope(config):
    """The same with the base of the rotation among the other keys."""
    return config | {"rope_scaling": None, "rope_theta": config.pop("rope_parameters")["rope_theta"]}


def prefixed(folder, prefix, more):
    """Puts a prefix before every name, and tensors beside them that embedding does not use."""
    weights = {f"{prefix}{name}": tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(weights | more, folder / WEIGHTS, {"format": "pt"})
