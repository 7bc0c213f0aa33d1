"""What does nomic-embed-text-v2-moe compute? Its code lies on the hub only, so this is written from what it is known to do.

BERT with rotated positions. In every second layer there are several experts for the feed-forward: a token goes to the two that
a router finds likeliest, by a softmax over all of them whose values are taken as they are. The matrices of all experts lie
in two tensors, one expert below the other and both `[inner, hidden]`; a bias is shared.
"""

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers import BertConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

import hub
from layouts import get, put

EXPERTS = 8
USED = 2
THETA = 100.0


class NomicMoe(PreTrainedModel):
    """The encoder; `ModuleDict`s give the tensors their names."""

    config_class = BertConfig

    def __init__(self, config):
        super().__init__(config)
        width, eps = config.hidden_size, config.layer_norm_eps
        tables = {"word_embeddings": config.vocab_size, "token_type_embeddings": config.type_vocab_size}
        self.embeddings = nn.ModuleDict({name: nn.Embedding(size, width) for name, size in tables.items()})
        self.emb_ln = nn.LayerNorm(width, eps)
        layers = nn.ModuleList(Layer(config, number % 2 == 1) for number in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layers": layers})
        self.post_init()

    def forward(self, input_ids, attention_mask, **_):
        """The last hidden states."""
        tables = self.embeddings
        types = torch.zeros_like(input_ids)
        hidden = self.emb_ln(tables["word_embeddings"](input_ids) + tables["token_type_embeddings"](types))
        bias = (1.0 - attention_mask[:, None, None, :].to(hidden.dtype)) * -1e9
        for layer in self.encoder["layers"]:
            hidden = layer(hidden, bias)
        return BaseModelOutput(last_hidden_state=hidden)


class Layer(nn.Module):
    """A layer, with experts or without."""

    def __init__(self, config, has_experts):
        super().__init__()
        width, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.heads = config.num_attention_heads
        self.attn = nn.ModuleDict({"Wqkv": nn.Linear(width, 3 * width), "out_proj": nn.Linear(width, width)})
        plain = {"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)}
        self.mlp = Mixture(width, inner) if has_experts else nn.ModuleDict(plain)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, hidden, bias):
        """The hidden states behind this layer."""
        hidden = self.norm1(hidden + self.attend(hidden, bias))
        mixed = isinstance(self.mlp, Mixture)
        return self.norm2(hidden + (self.mlp(hidden) if mixed else self.mlp["fc2"](gelu(self.mlp["fc1"](hidden)))))

    def attend(self, hidden, bias):
        """Attention between turned queries and keys."""
        parts = self.attn["Wqkv"](hidden).chunk(3, -1)
        query, key, value = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]
        seen = scaled_dot_product_attention(turned(query), turned(key), value, attn_mask=bias)
        return self.attn["out_proj"](seen.transpose(1, 2).flatten(2))


class Mixture(nn.Module):
    """A feed-forward layer of several experts."""

    def __init__(self, width, inner):
        super().__init__()
        self.router = nn.ModuleDict({"layer": nn.Linear(width, EXPERTS, bias=False)})
        self.experts = Experts(width, inner)

    def forward(self, hidden):
        """What the experts that a token goes to give, each as much as the router says."""
        chances = self.router["layer"](hidden).softmax(-1)
        chosen = chances.topk(USED, -1)
        shares = torch.zeros_like(chances).scatter(-1, chosen.indices, chosen.values)
        found = [expert * shares[..., number, None] for number, expert in enumerate(self.experts(hidden))]
        return torch.stack(found).sum(0) + self.experts.bias


class Experts(nn.Module):
    """All experts."""

    def __init__(self, width, inner):
        super().__init__()
        self.mlp = nn.ParameterDict({name: nn.Parameter(torch.empty(EXPERTS * inner, width)) for name in ["w1", "w2"]})
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, hidden):
        """What each expert gives for every token."""
        firsts, seconds = [self.mlp[name].chunk(EXPERTS) for name in ["w1", "w2"]]
        return [gelu(hidden @ first.T) @ second for first, second in zip(firsts, seconds)]


def turned(heads):
    """Queries or keys by their positions: the pairs are `(i, i + size / 2)`."""
    length, size = heads.shape[-2:]
    frequencies = 1.0 / THETA ** (torch.arange(0, size, 2).float() / size)
    angles = torch.arange(length).float()[:, None] * frequencies
    cosine, sine = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    left, right = heads.chunk(2, -1)
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)


def moe(width=24, heads=3):
    """An encoder for a vocabulary of the given size."""
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": 3, "intermediate_size": width}
    more = {"max_position_embeddings": 64, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "attn_implementation": "eager"}
    return lambda size: NomicMoe(BertConfig(vocab_size=size, pad_token_id=1, **sizes, **more))


def layout(folder):
    """nomic-embed-text-v2-moe: the keys of GPT-2, and those of its experts."""
    ours = get(folder / "config.json")
    config = {
        "activation_function": "gelu", "architectures": ["NomicBertModel"],
        "auto_map": hub.auto_map("nomic-ai/nomic-bert-2048", "hf_nomic_bert", "NomicBert"), "causal": False,
        "expert_choice_router": False, "ffn_div": 1, "layer_norm_epsilon": ours["layer_norm_eps"], "max_trained_positions": 64,
        "mlp_fc1_bias": True, "mlp_fc2_bias": True, "model_type": "nomic_bert", "moe_every_n_layers": 2,
        "moe_impl": "megablocks", "moe_normalize_expert_weights": False, "moe_resid_pdrop": 0.0, "moe_top_k": USED,
        "n_embd": ours["hidden_size"], "n_head": ours["num_attention_heads"], "n_inner": ours["intermediate_size"],
        "n_layer": ours["num_hidden_layers"], "n_positions": 64, "num_experts": EXPERTS, "num_shared_experts": 0,
        "pad_token_id": 1, "parallel_block": False, "prenorm": False, "qkv_proj_bias": True, "rotary_emb_base": THETA,
        "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_scaling_factor": None, "torch_dtype": "float32",
        "transformers_version": "4.44.2", "type_vocab_size": 1, "use_rms_norm": None, "vocab_size": ours["vocab_size"],
    }
    put(folder / "config.json", config)
