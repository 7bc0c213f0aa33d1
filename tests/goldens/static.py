"""Which static models are there? A text's vector is the mean of the rows of its tokens, without special tokens and without limit.

Model2Vec drops unknown tokens before it takes the mean, sentence-transformers keeps them. A text of no tokens is zeros.
"""

import shutil
import zlib

import numpy as np
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

import golden
import layouts
import texts
import vocab

WIDTH = 24
UNKNOWN = "[UNK]"


def make(folder):
    """Makes every static model and its golden file anew."""
    for name, tail in {"static": [], "static-normalised": [Normalize()]}.items():
        print(name)
        sentence_transformer(folder / name, tail)
    for name, parts, normalize in [("model2vec", plain, True), ("model2vec-mapped", mapped, False)]:
        print(name)
        model2vec(folder / name, parts, normalize)


def sentence_transformer(folder, tail):
    """A StaticEmbedding as sentence-transformers saves it."""
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = vocab.wordpiece(200)
    rows = numbers(folder.name, len(tokenizer), WIDTH)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=rows), *tail], device="cpu")
    model.save(str(folder), create_model_card=False)
    model = SentenceTransformer(str(folder), device="cpu")
    whole = [texts.full(entry) for entry in texts.TINY]
    vectors = np.stack([model.encode(text, show_progress_bar=False) for text in whole])
    batched = model.encode(whole, show_progress_bar=False)
    exact = model.double().encode(whole, show_progress_bar=False)
    ids = [model[0].tokenizer.encode(text, add_special_tokens=False).ids for text in whole]
    write(folder, vectors, ids, [batched, exact])


def model2vec(folder, parts, normalize):
    """A model as Model2Vec saves it; its definition in three lines."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tokenizer = vocab.wordpiece(200)._tokenizer
    tokenizer.save(str(folder / "tokenizer.json"))
    tensors, rows = parts(folder.name, tokenizer.get_vocab_size())
    save_file(tensors, folder / layouts.WEIGHTS)
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "tokenizer_name": "someone/tiny-bert"}
    config |= {"apply_pca": WIDTH, "apply_zipf": True, "hidden_dim": WIDTH, "seq_length": 1000000, "normalize": normalize}
    layouts.put(folder / "config.json", config)
    unknown = tokenizer.token_to_id(UNKNOWN)
    ids = [tokenizer.encode(texts.full(entry), add_special_tokens=False).ids for entry in texts.TINY]
    ids = [[number for number in seen if number != unknown] for seen in ids]
    vectors = np.stack([mean(rows, seen, normalize) for seen in ids])
    write(folder, vectors, ids, [np.stack([mean(rows.astype("f8"), seen, normalize) for seen in ids])])


def mean(rows, ids, normalize):
    """The mean of some rows, of length 1 if so wished."""
    vector = rows[ids].mean(0) if ids else np.zeros(WIDTH, rows.dtype)
    return vector / (np.linalg.norm(vector) + 1e-32).astype(rows.dtype) if normalize else vector


def plain(name, size):
    """One row per token."""
    rows = numbers(name, size, WIDTH)
    return {"embeddings": torch.from_numpy(rows)}, rows


def mapped(name, size):
    """Fewer rows than tokens, which row each token has, and how much it counts."""
    rows = numbers(name, 50, WIDTH)
    mapping = np.random.default_rng(1).integers(0, 50, size)
    weights = np.abs(numbers(f"{name} weights", size))
    tensors = {"embeddings": torch.from_numpy(rows), "mapping": torch.from_numpy(mapping), "weights": torch.from_numpy(weights)}
    return tensors, rows[mapping] * weights[:, None]


def numbers(name, *shape):
    """Random f32 values that are the same everywhere."""
    return np.random.default_rng(zlib.crc32(name.encode())).normal(0.1, 1.0, shape).astype("f4")


def write(folder, vectors, ids, others):
    """Writes the golden file of a model."""
    away = max(float(np.abs(vectors - other).max()) for other in others)
    print(f"    {len(vectors):3} cases, from batches and f64 {away:.1e}")
    assert vectors.dtype == np.float32 and away < golden.CLOSE
    found = [
        texts.fields(entry) | {"ids": seen, "embedding": golden.packed(vector)}
        for entry, seen, vector in zip(texts.TINY, ids, vectors)
    ]
    golden.write(folder.parent / f"{folder.name}.json", folder.name, None, found)
