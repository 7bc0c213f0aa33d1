"""What does JinaBERT compute? Its code lies on the hub only, so this is written from what it is known to do.

BERT without positions: a score loses what a head has for every token between two (ALiBi), and the feed-forward is gated.
The variant of jina-embeddings-v2-base-code norms queries and keys over all heads, gates with the second half instead of the
first, and adds the input of attention twice.
"""

import math

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers import BertConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from layouts import get, put


class JinaBert(PreTrainedModel):
    """The encoder; `ModuleDict`s give the tensors their names."""

    config_class = BertConfig

    def __init__(self, config):
        super().__init__(config)
        width, eps = config.hidden_size, config.layer_norm_eps
        tables = {"word_embeddings": config.vocab_size, "token_type_embeddings": config.type_vocab_size}
        embeddings = {name: nn.Embedding(size, width) for name, size in tables.items()}
        self.embeddings = nn.ModuleDict(embeddings | {"LayerNorm": nn.LayerNorm(width, eps)})
        layer = CodeLayer if config.code else Layer
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layer(config) for _ in range(config.num_hidden_layers))})
        self.post_init()

    def forward(self, input_ids, attention_mask, token_type_ids=None, **_):
        """The last hidden states."""
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        tables = self.embeddings
        hidden = tables["LayerNorm"](tables["word_embeddings"](input_ids) + tables["token_type_embeddings"](types))
        places = torch.arange(input_ids.shape[1])
        slope = torch.tensor(slopes(self.config.num_attention_heads), dtype=hidden.dtype)
        bias = -slope[:, None, None] * (places[:, None] - places).abs()
        bias = bias + (1.0 - attention_mask[:, None, None, :].to(hidden.dtype)) * -1e9
        for layer in self.encoder["layer"]:
            hidden = layer(hidden, bias)
        return BaseModelOutput(last_hidden_state=hidden)


class Layer(nn.Module):
    """A layer of jina-embeddings-v2-base-en."""

    def __init__(self, config):
        super().__init__()
        width, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.heads = config.num_attention_heads
        projections = nn.ModuleDict({name: nn.Linear(width, width) for name in ["query", "key", "value"]})
        output = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps)})
        self.attention = nn.ModuleDict({"self": projections, "output": output})
        parts = {"gated_layers": nn.Linear(width, 2 * inner, bias=False), "wo": nn.Linear(inner, width)}
        self.mlp = nn.ModuleDict(parts | {"layernorm": nn.LayerNorm(width, eps)})

    def forward(self, hidden, bias):
        """The hidden states behind this layer."""
        hidden = self.attend(hidden, bias)
        gate, up = self.mlp["gated_layers"](hidden).chunk(2, -1)
        return self.mlp["layernorm"](hidden + self.mlp["wo"](gelu(gate) * up))

    def attend(self, hidden, bias):
        """Attention with its residual and its norm."""
        split = [self.norm(name, part(hidden)).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name, part in self.parts()]
        seen = scaled_dot_product_attention(*split, attn_mask=bias).transpose(1, 2).flatten(2)
        output = self.attention["output"]
        return output["LayerNorm"](hidden + output["dense"](seen))

    def parts(self):
        """The projections by their names."""
        return [(name, self.attention["self"][name]) for name in ["query", "key", "value"]]

    def norm(self, name, values):
        """What happens to queries, keys or values before they are split into heads."""
        return values


class CodeLayer(Layer):
    """A layer of jina-embeddings-v2-base-code."""

    def __init__(self, config):
        super().__init__(config)
        width, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.attention["self"].update({f"layer_norm_{name}": nn.LayerNorm(width, eps) for name in "qk"})
        up, down = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width)
        self.mlp = nn.ModuleDict({"up_gated_layer": up, "down_layer": down})
        self.layer_norm_1, self.layer_norm_2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, hidden, bias):
        """The hidden states behind this layer."""
        hidden = self.layer_norm_1(hidden + self.attend(hidden, bias))
        up, gate = self.mlp["up_gated_layer"](hidden).chunk(2, -1)
        return self.layer_norm_2(hidden + self.mlp["down_layer"](up * gelu(gate)))

    def norm(self, name, values):
        """Queries and keys have a norm each."""
        return values if name == "value" else self.attention["self"][f"layer_norm_{name[0]}"](values)


def slopes(heads):
    """What each head takes from a score per token: a geometric series, and for other than a power of 2 half of a denser one."""
    whole = 2 ** int(math.log2(heads))
    series = [2 ** (-8 * (head + 1) / whole) for head in range(whole)]
    return series + [2 ** (-8 * (head + 1) / (2 * whole)) for head in range(0, 2 * (heads - whole), 2)]


def jina(width=24, heads=6, code=False):
    """A JinaBERT for a vocabulary of the given size."""
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": 2, "intermediate_size": 3 * width // 2}
    more = {"max_position_embeddings": 64, "code": code, "attn_implementation": "eager"}
    return lambda size: JinaBert(BertConfig(vocab_size=size, **sizes, **more))


def hub(folder):
    """jina-embeddings-v2-base-en and -code: a BERT by its type, and only two keys tell that it is none."""
    config = get(folder / "config.json")
    code = config.pop("code")
    repository = "jinaai/jina-bert-v2-qk-post-norm" if code else "jinaai/jina-bert-implementation"
    parts = {"AutoConfig": "configuration_bert.JinaBertConfig", "AutoModel": "modeling_bert.JinaBertModel"}
    config |= {
        "_name_or_path": repository, "architectures": ["JinaBertForMaskedLM" if code else "JinaBertModel"],
        "auto_map": {auto: f"{repository}--{name}" for auto, name in parts.items()},
        "emb_pooler": "mean", "feed_forward_type": "geglu", "position_embedding_type": "alibi", "model_max_length": 8192,
        "torch_dtype": config.pop("dtype"), "transformers_version": "4.31.0",
    }
    put(folder / "config.json", config)
