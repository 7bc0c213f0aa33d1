"""Which sparse models are there, and what weight does each token id get?

SPLADE: cases with the `ids` the encoder saw and `sparse`, pairs of token id and weight. bge-m3: of one pass the `embedding`,
`sparse` (only tokens of the text itself) and `multivector` (base64 of a normalised row per token but the first), as
FlagEmbedding defines them.
"""

import shutil
import zlib

import numpy as np
import torch
import transformers
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling

import encoders
import golden
import layouts
import texts
import tiny
import vocab

FEWER = 2.0  # taken from every logit, so that most weights are 0
XLM = {"max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
XLM |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def distilbert(size):
    """A DistilBERT with its head."""
    sizes = {"dim": 24, "n_heads": 3, "n_layers": 2, "hidden_dim": 36, "max_position_embeddings": 64}
    return transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(vocab_size=size, **sizes))


SPLADES = {
    "splade-bert": (encoders.build("Bert", head="ForMaskedLM"), vocab.wordpiece, SpladePooling("max")),
    "splade-distilbert": (distilbert, vocab.wordpiece, SpladePooling("max")),
    "splade-mpnet": (
        encoders.build("MPNet", head="ForMaskedLM", layers=1, max_position_embeddings=66), lambda: vocab.mpnet(limit=64),
        SpladePooling("max"),
    ),
    "splade-modernbert": (encoders.modernbert(head="ForMaskedLM"), vocab.modern, SpladePooling("max")),
    "splade-sum": (
        encoders.build("XLMRoberta", head="ForMaskedLM", layers=1, **XLM), lambda: vocab.unigram(limit=64),
        SpladePooling("sum", "log1p_relu"),
    ),
}


def make(folder):
    """Makes every sparse model and its golden file anew."""
    for name, (encoder, tokenizer, pooling) in SPLADES.items():
        print(name)
        splade(folder / name, encoder, tokenizer(), pooling)
    print("bge-m3")
    m3(folder / "bge-m3")


def splade(folder, build, tokenizer, pooling):
    """A masked language model, first alone and then with the modules that sentence-transformers puts around it."""
    save(folder, build(len(tokenizer)).eval(), tokenizer)
    model = SparseEncoder(modules=[Transformer(str(folder), transformer_task="fill-mask"), pooling], device="cpu")
    model.save(str(folder), create_model_card=False)
    model = SparseEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    whole = [texts.full(entry) for entry in texts.TINY]
    rows = np.stack([encode(model, [text])[0] for text in whole])
    batched = encode(model, whole)
    exact = encode(model.double(), whole)
    model.float()
    check_close(rows, batched, exact, pooling.pooling_strategy)
    found = []
    for entry, text, row in zip(texts.TINY, whole, rows):
        ids = model.preprocess([text])["input_ids"][0].tolist()
        found.append(texts.fields(entry) | {"ids": ids, "sparse": pairs(row)})
    golden.check_tokenizer(folder, found, model.max_seq_length)
    golden.write(folder.parent / f"{folder.name}.json", folder.name, model.max_seq_length, found)


def save(folder, encoder, tokenizer):
    """Writes a folder as transformers does."""
    shutil.rmtree(folder, ignore_errors=True)
    tiny.randomise(encoder, zlib.crc32(folder.name.encode()))
    if encoder.get_output_embeddings():
        encoder.get_output_embeddings().bias.data -= FEWER
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def encode(model, whole):
    """Sparse vectors of texts, in one batch, as full rows."""
    vectors = model.encode(whole, batch_size=len(whole), show_progress_bar=False, convert_to_sparse_tensor=False)
    return vectors.numpy()


def pairs(row):
    """The ids that have a weight, with it."""
    return [[int(number), short(row[number])] for number in np.flatnonzero(row)]


def short(weight):
    """A weight in as many digits as an f32 needs."""
    return float(f"{weight:.9g}")


def check_close(singles, batched, exact, strategy):
    """Asserts that padding and f32 change little. Of a maximum that is seen from its logit: near 0 a weight is off by as much."""
    largest = FEWER + np.expm1(exact.max()) if strategy == "max" else max(1.0, exact.max())
    away = [float(np.abs(singles - other).max() / largest) for other in (batched, exact)]
    share = float((singles > 0).mean())
    print(f"    {len(singles):3} cases, from padded batches {away[0]:.1e}, from f64 {away[1]:.1e}, weights for {share:.0%}")
    assert max(away) < golden.CLOSE, away


def m3(folder):
    """bge-m3: an XLM-RoBERTa in pytorch_model.bin, and two pickled heads beside it."""
    tokenizer = vocab.unigram(limit=64)
    encoder = encoders.build("XLMRoberta", **XLM)(len(tokenizer)).eval()
    save(folder, encoder, tokenizer)
    layouts.pooled(folder, 24, "cls_token", 64)
    torch.save(encoder.state_dict(), folder / "pytorch_model.bin")
    (folder / layouts.WEIGHTS).unlink()
    heads = {"sparse_linear": torch.nn.Linear(24, 1), "colbert_linear": torch.nn.Linear(24, 24)}
    for name, head in heads.items():
        tiny.randomise(head, zlib.crc32(name.encode()))
        head.bias.data += 2.0
        torch.save(head.state_dict(), folder / f"{name}.pt")
    model = golden.load(folder)
    cases = golden.cases(model, texts.TINY)
    golden.check_tokenizer(folder, cases, model.max_seq_length)
    found = [case | three(model, heads, texts.full(entry)) for case, entry in zip(cases, texts.TINY)]
    golden.write(folder.parent / f"{folder.name}.json", folder.name, model.max_seq_length, found)


def three(model, heads, text):
    """What one pass of bge-m3 gives. The mask token is the only special one that keeps its weight."""
    unused = {getattr(model.tokenizer, f"{name}_token_id") for name in ["cls", "eos", "pad", "unk"]}
    features = model.preprocess([text])
    ids = features["input_ids"][0].tolist()
    with torch.no_grad():
        hidden = model[0](features)["token_embeddings"][0]
        weights = heads["sparse_linear"](hidden).relu()[:, 0].tolist()
        rows = torch.nn.functional.normalize(heads["colbert_linear"](hidden[1:]), dim=-1)
    largest = {}
    for number, weight in zip(ids, weights):
        if number not in unused and weight > 0:
            largest[number] = max(short(weight), largest.get(number, 0.0))
    dense = torch.nn.functional.normalize(hidden[0], dim=-1)
    found = {"ids": ids, "embedding": golden.packed(dense.numpy()), "sparse": sorted(map(list, largest.items()))}
    return found | {"multivector": golden.packed(rows.numpy())}
