"""Which tiny models are there, and how is each made?

Random weights with a large spread and norms and biases that matter, so that a forgotten term shows at once.
"""

import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling, Transformer

import encoders
import golden
import hub
import jina
import layouts
import nomic
import texts
import vocab

POOLINGS = ["cls", "mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"]
ACTIVATIONS = ["relu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "silu", "tanh"]
QWEN_PROMPTS = {"query": "Instruct: Given a web search query, retrieve passages\nQuery:", "document": ""}
GEMMA_PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}
PROMPTS = {"query": "Question: ", "document": "passage: ", "topic": "Represent the topic: "}


@dataclass
class Tiny:
    """One model folder: how its encoder is built and what is done with it.

    `norms` is what the weights of its norms lie around: 0 where the encoder itself adds the 1. `twin` names the model of
    the same weights whose vectors these are, for a folder that only code from the hub can load; with `own` the encoder is
    our own code, for the same reason.
    """

    name: str
    encoder: Callable
    tokenizer: Callable = vocab.wordpiece
    pooling: str | list = "mean"
    tail: list = field(default_factory=lambda: [Normalize()])
    options: dict = field(default_factory=dict)
    include_prompt: bool = True
    layout: Callable = lambda folder: None
    max_tokens: int | None = None
    variants: Callable = lambda model: {}
    same_ids: bool = True
    norms: float = 1.0
    twin: str = ""
    own: bool = False


def bert(width=16, heads=2, layers=1, **more):
    """A BERT for a vocabulary of the given size."""
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers, "intermediate_size": 3 * width // 2}
    return lambda size: transformers.BertModel(
        transformers.BertConfig(vocab_size=size, max_position_embeddings=64, **sizes, **more)
    )


def roberta(kind, width=32, heads=4, layers=2):
    """A RoBERTa, XLM-RoBERTa or CamemBERT: positions start behind the padding id."""
    config, model = getattr(transformers, f"{kind}Config"), getattr(transformers, f"{kind}Model")
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers, "intermediate_size": 3 * width // 2}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    more = {"max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return lambda size: model(config(vocab_size=size, **sizes, **ids, **more))


def distilbert(size):
    """A DistilBERT."""
    sizes = {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 48}
    return transformers.DistilBertModel(transformers.DistilBertConfig(vocab_size=size, max_position_embeddings=64, **sizes))


def qwen3(layers=3, **more):
    """A Qwen3 whose query heads share keys and values."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": layers, "intermediate_size": 48}
    rest = {"max_position_embeddings": 64, "tie_word_embeddings": True, **more}
    return lambda size: transformers.Qwen3Model(transformers.Qwen3Config(vocab_size=size, **sizes, **rest))


def of_bert(model):
    """The same weights with every pooling, every activation, and cut from the left."""
    pooling, config = model[1], model[0].model.config
    poolings, activations = {}, {}
    for pooling.pooling_mode in POOLINGS:
        poolings[pooling.pooling_mode] = golden.cases(model, texts.TINY)
    pooling.pooling_mode = "mean"
    layers = [layer.intermediate for layer in model[0].model.encoder.layer]
    kept = layers[0].intermediate_act_fn
    for name in ACTIVATIONS:
        for layer in layers:
            layer.intermediate_act_fn = transformers.activations.ACT2FN[name]
        activations[name] = golden.cases(model, texts.TINY[:3])
    for layer in layers:
        layer.intermediate_act_fn = kept
    model.tokenizer.truncation_side = "left"
    return {"poolings": poolings, "activations": activations, "truncation": {"left": golden.cases(model, texts.TINY[-1:])}}


def of_both_ways(model):
    """The same weights when a token sees those behind it too."""
    config = model[0].model.config
    config.is_causal = False
    found = golden.cases(model, texts.TINY)
    del config.is_causal
    return {"attention": {"both ways": found}}


def of_tasks(model):
    """What `encode_query` and `encode_document` give."""
    return {"tasks": {task: golden.cases(model, texts.TINY, task) for task in ["query", "document"]}}


def of_adapters(model):
    """The same weights as the adapters of jina-embeddings-v3 change them."""
    found = {}
    with tempfile.TemporaryDirectory() as changed:
        shutil.copytree(model[0].model.name_or_path, changed, dirs_exist_ok=True)
        weights = load_file(Path(changed) / layouts.WEIGHTS)
        for number, task in enumerate(hub.ADAPTERS):
            matrices = {name: tensor for name, tensor in weights.items() if tensor.dim() > 1}
            adapted = {name: hub.adapted(name, tensor, number) for name, tensor in matrices.items()}
            save_file(weights | adapted, Path(changed) / layouts.WEIGHTS, {"format": "pt"})
            found[task] = golden.cases(golden.load(changed), texts.TINY)
    return {"adapters": found}


def narrowed(*widths):
    """Dense modules with neither bias nor activation."""
    pairs = zip(widths, widths[1:])
    return [Dense(*pair, bias=False, activation_function=torch.nn.Identity()) for pair in pairs] + [Normalize()]


def dense(width):
    """Two Dense modules, one with bias and Tanh, one with neither."""
    return [
        Dense(width, 24, activation_function=torch.nn.Tanh()),
        Dense(24, 12, bias=False, activation_function=torch.nn.Identity()),
        Normalize(),
    ]


def normed(width):
    """A Dense module that is added to what it reads, and a LayerNorm behind one that is not."""
    return [
        Dense(width, width, activation_function=torch.nn.GELU(), use_residual=True),
        Dense(width, 12, activation_function=torch.nn.Identity()),
        LayerNorm(12),
        Normalize(),
    ]


def cased():
    """A tokenizer that keeps case and accents."""
    return vocab.wordpiece(200, lowercase=False, limit=512)


def small(limit=64):
    """A tokenizer for the models that show a layout."""
    return lambda: vocab.wordpiece(200, limit=limit)


MODELS = [
    Tiny("bert-mean", bert(32, 4, 2), variants=of_bert),
    Tiny("roberta", roberta("Roberta"), lambda: vocab.bytelevel(limit=512), max_tokens=64),
    Tiny("xlm-roberta", roberta("XLMRoberta"), lambda: vocab.unigram(limit=40), "cls"),
    Tiny("camembert", roberta("Camembert", 16, 2, 1), lambda: vocab.unigram(limit=512), max_tokens=64),
    Tiny("distilbert", distilbert, lambda: vocab.wordpiece(limit=512)),
    Tiny("bert-old", bert(), cased, layout=layouts.old, same_ids=False),
    Tiny("bert-bin", bert(), small(), layout=layouts.oldest),
    Tiny("bert-plain", bert(layer_norm_eps=1e-5), small(), layout=layouts.plain),
    Tiny("bert-sharded", bert(layers=2), small(), layout=layouts.sharded),
    Tiny("bert-f16", bert(), small(), layout=layouts.half),
    Tiny("bert-pretraining", bert(), small(), layout=layouts.pretraining),
    Tiny("bert-dense", bert(), small(), tail=dense(16)),
    Tiny("bert-normed", bert(), small(), tail=normed(16)),
    Tiny("bert-multi", bert(), small(), ["mean", "cls"], tail=[]),
    Tiny("bert-prompts", bert(), small(), options={"prompts": PROMPTS, "default_prompt_name": "topic"}, variants=of_tasks),
    Tiny("bert-instruct", bert(), small(), options={"prompts": PROMPTS}, include_prompt=False, variants=of_tasks),
    Tiny(
        "qwen3", qwen3(num_key_value_heads=2, head_dim=16, rope_theta=1e6, rms_norm_eps=1e-4), vocab.qwen, "lasttoken",
        options={"prompts": QWEN_PROMPTS}, layout=layouts.qwen, variants=of_tasks,
    ),
    Tiny(
        "qwen3-plain", qwen3(2, num_key_value_heads=1, head_dim=8, rope_theta=5e5), vocab.qwen, "lasttoken",
        layout=layouts.decoder, variants=of_both_ways,
    ),
    Tiny("mpnet", encoders.mpnet(), lambda: vocab.mpnet(limit=512), max_tokens=64),
    Tiny("deberta", encoders.deberta(), vocab.deberta),
    Tiny("nomic", encoders.nomic()),
    Tiny("nomic-hub", encoders.nomic(), layout=hub.nomic, twin="nomic"),
    Tiny("gte", encoders.gte(), vocab.unigram, "cls"),
    Tiny("gte-hub", encoders.gte(), vocab.unigram, "cls", layout=hub.gte, twin="gte"),
    Tiny("gte-ntk", encoders.gte_ntk(), small(), "cls"),
    Tiny("gte-ntk-hub", encoders.gte_ntk(), small(), "cls", layout=hub.gte, twin="gte-ntk"),
    Tiny("modernbert", encoders.modernbert(), vocab.modern),
    Tiny("modernbert-hub", encoders.modernbert(), vocab.modern, "cls", layout=hub.modern),
    Tiny("t5", encoders.t5(), vocab.t5, tail=narrowed(16, 12)),
    Tiny(
        "t5-gated", encoders.t5(
            feed_forward_proj="gated-gelu", tie_word_embeddings=False,
            relative_attention_num_buckets=12, relative_attention_max_distance=40,
        ), vocab.t5, tail=narrowed(16, 12), layout=hub.whole_t5,
    ),
    Tiny("qwen2", encoders.decoder("Qwen2"), vocab.qwen, "lasttoken", variants=of_both_ways),
    Tiny("qwen2-hub", encoders.decoder("Qwen2"), vocab.qwen, "lasttoken", layout=hub.both_ways),
    Tiny("llama", encoders.decoder("Llama"), vocab.llama, "lasttoken"),
    Tiny("llama-scaled", encoders.llama_scaled(), vocab.llama, "mean", variants=of_both_ways),
    Tiny("mistral", encoders.decoder("Mistral", sliding_window=12, head_dim=8), vocab.mistral, "lasttoken"),
    Tiny(
        "gemma", encoders.gemma(), vocab.gemma, tail=narrowed(16, 32, 16), norms=0.0,
        options={"prompts": GEMMA_PROMPTS}, variants=of_tasks,
    ),
    Tiny("gemma-hub", encoders.gemma(), vocab.gemma, tail=narrowed(16, 32, 16), norms=0.0, layout=hub.gemma),
    Tiny("eurobert", encoders.eurobert(), lambda: vocab.llama(end="<|end_of_text|>")),
    Tiny("eurobert-hub", encoders.eurobert(), lambda: vocab.llama(end="<|end_of_text|>"), layout=hub.eurobert),
    Tiny("jina3", encoders.jina3(), vocab.unigram),
    Tiny("jina3-hub", encoders.jina3(), vocab.unigram, layout=hub.jina3, twin="jina3", variants=of_adapters),
    Tiny("nomic-moe", nomic.moe(), vocab.unigram, layout=nomic.layout, own=True),
    Tiny("jina2", jina.jina(), layout=jina.hub, own=True),
    Tiny("jina2-code", jina.jina(code=True), vocab.bytelevel, layout=jina.hub, own=True),
]

STORED = {layouts.half: torch.float16, layouts.qwen: torch.bfloat16}


def make(folder, names=()):
    """Makes every tiny model, or those of these names, and its golden file anew."""
    for tiny in [tiny for tiny in MODELS if not names or tiny.name in names]:
        print(tiny.name)
        shutil.rmtree(folder / tiny.name, ignore_errors=True)
        encoder = save(tiny, folder / tiny.name)
        model = golden.load(folder / (tiny.twin or tiny.name))
        if tiny.own:
            # Only behind loading, which believes what a folder says of its code.
            tiny.layout(folder / tiny.name)
            model[0].model = type(encoder)(encoder.config).eval()
            model[0].model.load_state_dict(load_file(folder / tiny.name / layouts.WEIGHTS))
        check_weights(encoder.state_dict(), model[0].model.state_dict(), STORED.get(tiny.layout, torch.float32))
        limit = model.max_seq_length = tiny.max_tokens or model.max_seq_length
        found = golden.cases(model, texts.TINY)
        if tiny.same_ids and not golden.prompt(model, None):
            inner = folder / tiny.name / ("0_Transformer" if tiny.layout is layouts.oldest else "")
            golden.check_tokenizer(inner, found, limit)
        golden.write(folder / f"{tiny.name}.json", tiny.name, limit, found, tiny.variants(model))


def save(tiny, folder):
    """Writes a model folder and gives the encoder in it."""
    tokenizer = tiny.tokenizer()
    encoder = tiny.encoder(len(tokenizer)).eval()
    width = encoder.config.hidden_size
    for module in [encoder, *tiny.tail]:
        randomise(module, zlib.crc32((tiny.twin or tiny.name).encode()), tiny.norms)
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules = [Transformer(str(folder)), Pooling(width, tiny.pooling, tiny.include_prompt), *tiny.tail]
    model = SentenceTransformer(modules=modules, device="cpu", **tiny.options)
    model.save(str(folder), create_model_card=False)
    if tiny.own:
        encoder.save_pretrained(folder)
    else:
        tiny.layout(folder)
    return encoder


def randomise(module, seed, norms=1.0):
    """Fills every parameter from a generator that gives the same numbers everywhere."""
    numbers = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            spread = 0.25 if parameter.dim() > 1 else 0.1
            centre = norms if parameter.dim() == 1 and name.endswith("weight") else 0.0
            parameter.copy_(torch.from_numpy(numbers.normal(centre, spread, tuple(parameter.shape))))


def check_weights(made, loaded, stored):
    """Asserts that sentence-transformers read back every weight that was written."""
    for name, tensor in made.items():
        assert torch.equal(tensor.to(stored).float(), loaded[name]), name
