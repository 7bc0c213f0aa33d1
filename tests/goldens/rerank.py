"""Which rerankers are there, and what do they say of a query and a document?

A case is one pair scored alone: the `ids` (and `type_ids`) the encoder saw, its `logit`, and the `score` that
`CrossEncoder.predict` makes of it. As for embeddings, all pairs are scored again in padded batches and in f64.
"""

import shutil
import zlib
from dataclasses import dataclass
from typing import Callable

import torch
import transformers
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer

import encoders
import golden
import layouts
import texts
import tiny
import vocab

# The last is cut: from the end of the document while that is the longer of the two, then from both.
PAIRS = [
    ("why is the sky blue?", "The licensor grants you a patent license"),
    ("why is the sky blue?", "why is the grass green?"),
    ("Привет, мир!", "你好，世界 café Naïve — “quotes” 123,456.78"),
    ("a", ""),
    ("", "emoji 😀 and unknown ☃"),
    ("[CLS] <s> special [MASK]<mask> </s>", "  leading and   double  spaces\nnewline"),
    ("why is the sky blue?", ("The licensor grants you a patent license, ", 12)),
    (("why is the grass green, ", 12), ("The licensor grants you a patent license, ", 12)),
]
SYSTEM = "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
SYSTEM += 'Note that the answer can only be "yes" or "no".'
BEFORE = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
BEHIND = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TASK = "Given a web search query, retrieve relevant passages that answer the query"


@dataclass
class Reranker:
    """One model folder; only some classes of tokenizers say which token belongs to the document."""

    name: str
    encoder: Callable
    tokenizer: Callable
    layout: Callable = lambda folder: None
    tokenizer_class: str = ""
    variants: Callable = lambda model: {}


def classifier(kind, **more):
    """An encoder with a head of one label."""
    return encoders.build(kind, head="ForSequenceClassification", num_labels=1, **more)


def deberta():
    """DeBERTa-v3: scores between contents and distances both ways, distances in buckets, no positions."""
    distances = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
    more = {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0, "layer_norm_eps": 1e-7}
    return classifier("DebertaV2", pad_token_id=0, max_relative_positions=-1, **distances, **more)


def ms_marco(folder):
    """ms-marco-MiniLM: no activation, as sentence-transformers 2 said it."""
    config = layouts.get(folder / "config.json")
    put = {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity", "torch_dtype": config.pop("dtype")}
    layouts.put(folder / "config.json", config | put | {"transformers_version": "4.16.2"})


def of_mean(model):
    """The same weights with the other pooling before the head."""
    model[0].model.config.classifier_pooling = "mean"
    return {"classifier_pooling": {"mean": cases(model)}}


XLM = {"max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "bos_token_id": 0, "pad_token_id": 1}
MODELS = [
    Reranker("rerank-bert", classifier("Bert"), vocab.wordpiece, tokenizer_class="BertTokenizer"),
    Reranker("rerank-ms-marco", classifier("Bert", layers=1), lambda: vocab.wordpiece(200), ms_marco, "BertTokenizer"),
    Reranker(
        "rerank-distilbert", classifier("DistilBert", layers=1, hidden_dim=36), lambda: vocab.wordpiece(200),
        tokenizer_class="DistilBertTokenizer",
    ),
    Reranker("rerank-xlm-roberta", classifier("XLMRoberta", eos_token_id=2, **XLM), lambda: vocab.unigram(limit=64)),
    Reranker(
        "rerank-modernbert", encoders.modernbert(head="ForSequenceClassification", num_labels=1), vocab.modern,
        variants=of_mean,
    ),
    Reranker("rerank-deberta", deberta(), vocab.deberta),
]


def make(folder):
    """Makes every reranker and its golden file anew."""
    for model in MODELS:
        print(model.name)
        save(model, folder / model.name)
        loaded = CrossEncoder(str(folder / model.name), device="cpu", model_kwargs={"dtype": torch.float32})
        found = cases(loaded)
        check_tokenizer(folder / model.name, found, loaded.max_seq_length)
        golden.write(folder / f"{model.name}.json", model.name, loaded.max_seq_length, found, model.variants(loaded))
    qwen(folder / "rerank-qwen3")


def save(model, folder):
    """Writes a model folder as transformers does and as a user has it: nothing in it is of sentence-transformers."""
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = model.tokenizer()
    encoder = model.encoder(len(tokenizer)).eval()
    tiny.randomise(encoder, zlib.crc32(model.name.encode()))
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if model.tokenizer_class:
        names = layouts.get(folder / "tokenizer_config.json")
        layouts.put(folder / "tokenizer_config.json", names | {"tokenizer_class": model.tokenizer_class})
    model.layout(folder)


def cases(model):
    """One golden per pair."""
    pairs = [tuple(map(texts.full, pair)) for pair in PAIRS]
    raw = {"activation_fn": torch.nn.Identity(), "show_progress_bar": False}
    logits = [float(model.predict([pair], **raw)[0]) for pair in pairs]
    scores = [float(model.predict([pair], show_progress_bar=False)[0]) for pair in pairs]
    batched = model.predict(pairs, batch_size=8, **raw)
    exact = model.double().predict(pairs, batch_size=1, **raw)
    model.float()
    check_close(logits, batched, exact)
    seen = [model.preprocess([pair]) for pair in pairs]
    return [fields(*parts) for parts in zip(PAIRS, seen, logits, scores)]


def fields(pair, seen, logit, score):
    """The golden of one pair."""
    found = {}
    for name, entry in zip(["query", "document"], pair):
        found[name] = entry if isinstance(entry, str) else entry[0]
        if not isinstance(entry, str):
            found[f"{name}_repeat"] = entry[1]
    found["ids"] = seen["input_ids"][0].tolist()
    if "token_type_ids" in seen:
        found["type_ids"] = seen["token_type_ids"][0].tolist()
    return found | {"logit": logit, "score": score}


def check_close(logits, batched, exact):
    """Asserts that padding and f32 change little."""
    largest = max(1.0, max(abs(float(value)) for value in exact))
    away = [max(abs(one - float(other)) for one, other in zip(logits, others)) / largest for others in (batched, exact)]
    span = f"{min(logits):.2f} to {max(logits):.2f}"
    print(f"    {len(logits):3} pairs, from padded batches {away[0]:.1e}, from f64 {away[1]:.1e}, {span}")
    assert max(away) < golden.CLOSE, away


def check_tokenizer(folder, found, max_tokens):
    """Asserts that tokenizer.json alone gives the same ids."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    for case in found:
        pair = [case[name] * case.get(f"{name}_repeat", 1) for name in ("query", "document")]
        encoded = tokenizer.encode(*pair)
        assert encoded.ids == case["ids"], case
        assert encoded.type_ids == case.get("type_ids", encoded.type_ids), case


def qwen(folder):
    """Qwen3-Reranker: how much likelier a language model finds yes than no, asked in the words of its model card."""
    print(folder.name)
    built = encoders.decoder("Qwen3", head="ForCausalLM", head_dim=4, tie_word_embeddings=True, max_position_embeddings=512)
    save(Reranker(folder.name, built, vocab.qwen_chat), folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    pairs = [tuple(map(texts.full, pair)) for pair in PAIRS[:-1]]
    asked = [f"{BEFORE}<Instruct>: {TASK}\n<Query>: {query}\n<Document>: {document}{BEHIND}" for query, document in pairs]

    def logits(batch):
        with torch.no_grad():
            last = model(**tokenizer(batch, padding=True, return_tensors="pt")).logits[:, -1]
        return (last[:, yes] - last[:, no]).tolist()

    singles = [logits([text])[0] for text in asked]
    batched = logits(asked)
    model.double()
    check_close(singles, batched, [logits([text])[0] for text in asked])
    seen = [tokenizer([text], return_tensors="pt") for text in asked]
    scores = torch.tensor(singles).sigmoid().tolist()
    found = [fields(*parts) for parts in zip(PAIRS, seen, singles, scores)]
    more = {"before": BEFORE, "instruction": TASK, "behind": BEHIND, "yes": yes, "no": no}
    golden.write(folder.parent / f"{folder.name}.json", folder.name, 512, found, more=more)
