"""What is a golden, and how is it computed and written?

One case is one text encoded alone, in a batch of one, so that nothing is padded; the whole list is then encoded again in
padded batches and in f64, which says how far two correct f32 computations may lie apart.
"""

import base64
import json
import os
from importlib.metadata import version

# Before torch is loaded: no network, one thread, and the same arithmetic on every x86-64 with AVX2.
os.environ |= {"HF_HUB_OFFLINE": "1", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "RAYON_NUM_THREADS": "1"}
os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from texts import full
from texts import fields as about

PACKAGES = ["torch", "transformers", "sentence-transformers", "tokenizers"]
CLOSE = 1e-6  # of the largest value, or of 1

torch.set_num_threads(1)


def load(folder):
    """Opens a model folder as a user would, in f32 on the CPU."""
    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})


def cases(model, entries, task=None):
    """One golden per text, checked against padded batches and against f64."""
    found = [case(model, entry, task) for entry in entries]
    singles = np.stack([vector for _, vector in found])
    whole = [full(entry) for entry in entries]
    batched = encode(model, whole, task, batch_size=8)
    exact = encode(model.double(), whole, task, batch_size=1)
    model.float()
    away = [float(np.abs(singles - other).max() / max(1.0, np.abs(exact).max())) for other in (batched, exact)]
    print(f"    {len(found):3} cases, from padded batches {away[0]:.1e}, from f64 {away[1]:.1e}")
    assert max(away) < CLOSE, away
    return [fields for fields, _ in found]


def case(model, entry, task):
    """The golden of one text: its token ids as the encoder saw them and its vector."""
    text = full(entry)
    vector = encode(model, text, task)
    assert vector.dtype == np.float32 and np.isfinite(vector).all(), text
    prompted = prompt(model, task) + text
    ids = model.preprocess([prompted])["input_ids"][0].tolist()
    whole = len(model.tokenizer(prompted)["input_ids"])
    fields = about(entry)
    if whole > len(ids):
        fields["tokens"] = whole
    return fields | {"ids": ids, "embedding": packed(vector)}, vector


def encode(model, texts, task, **more):
    """The vectors of the method that belongs to a task: `encode`, `encode_query`, `encode_document`."""
    method = getattr(model, "encode" if task is None else f"encode_{task}")
    return method(texts, show_progress_bar=False, **more)


def prompt(model, task):
    """The prompt that this method puts before every text."""
    name = model.default_prompt_name if task is None else task
    return model.prompts.get(name, "") if name else ""


def check_tokenizer(folder, found, max_tokens, side="right"):
    """Asserts that tokenizer.json alone, without its padding and truncation, gives the ids of the encoder."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, direction=side)
    for fields in found:
        ids = tokenizer.encode(fields["text"] * fields.get("repeat", 1)).ids
        assert ids == fields["ids"], (fields["text"], ids, fields["ids"])


def packed(vector):
    """The base64 of little-endian f32 values."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def write(path, model, max_tokens, found, variants=None, more=None):
    """Writes a golden file, with one line per case so that a change is readable; `more` stands at its head."""
    versions = {name: version(name) for name in PACKAGES}
    head = {"model": model, "versions": versions, "max_tokens": max_tokens} | (more or {})
    lines = [f"{quoted(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines.append(f'"cases": {rows(found)}')
    for kind, lists in (variants or {}).items():
        inner = ",\n".join(f"{quoted(name)}: {rows(found)}" for name, found in lists.items())
        lines.append(f"{quoted(kind)}: {{\n{inner}\n}}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def rows(found):
    """A list of cases, one line each."""
    return "[\n" + ",\n".join(json.dumps(fields, separators=(",", ":")) for fields in found) + "\n]"


def quoted(name):
    """A JSON string."""
    return json.dumps(name)
