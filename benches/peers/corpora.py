"""Which texts are embedded? The same cuts of the checkout's documents as benches/corpora.rs makes.

Words are the whitespace-separated words of DOCUMENTS, in this order, that consist of ASCII letters and , . ' - only,
with at least one letter. Text i of a corpus has n = LENGTHS[i % len(LENGTHS)] words, beginning at word
(i * 97) % (len(words) - n), joined with single spaces.
"""

import json
import re
from pathlib import Path

DOCUMENTS = ["LICENSE", "README.md", "docs/architecture.md", "docs/operations.md", "docs/models.md"]
WORD = re.compile(r"[A-Za-z,.'-]*[A-Za-z][A-Za-z,.'-]*")
# Name: the numbers of words, and how many texts.
CORPORA = {
    "short": ([4, 8, 11, 13, 15, 18, 22], 256),
    "mixed": ([14, 25, 40, 52, 66, 80, 100, 125, 170, 20], 300),
    "long": ([420], 32),
}
# Queries of 8 tokens with [CLS] and [SEP]; several, so that no engine could answer from memory.
QUERIES = [f"why is the sky {colour}?" for colour in ("blue", "red", "green", "black", "white", "dark", "gray", "pink")]
# The window of all-MiniLM-L6-v2, to which every engine cuts.
MAX_TOKENS = 256


def words(checkout: Path) -> list[str]:
    """Returns the words from which all corpora are cut."""
    texts = ((checkout / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    return [word for text in texts for word in text.split() if WORD.fullmatch(word)]


def cut(checkout: Path, share: int = 1) -> dict[str, list[str]]:
    """Returns the first `share`-th part of each corpus, and whole the texts of queries and of the fidelity check."""
    source = words(checkout)
    whole = {name: texts_of(source, lengths, count) for name, (lengths, count) in CORPORA.items()}
    parts = {name: texts[: len(texts) // share] for name, texts in whole.items()}
    return parts | {"query": QUERIES, "fidelity": whole["mixed"]}


def texts_of(source: list[str], lengths: list[int], count: int) -> list[str]:
    """Returns one corpus."""
    texts = []
    for index in range(count):
        length = lengths[index % len(lengths)]
        start = index * 97 % (len(source) - length)
        texts.append(" ".join(source[start : start + length]))
    return texts


def tokenizer(model: Path):
    """Returns the model's tokenizer with the window as its limit and without padding."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(model / "tokenizer.json"))
    loaded.enable_truncation(MAX_TOKENS)
    loaded.no_padding()
    return loaded


def count_tokens(corpora: dict[str, list[str]], model: Path) -> dict[str, int]:
    """Returns the true tokens of each corpus, special tokens included and nothing padded."""
    loaded = tokenizer(model)
    return {name: sum(len(found.ids) for found in loaded.encode_batch(texts)) for name, texts in corpora.items()}


def load(file: Path) -> dict[str, list[str]]:
    """Reads the corpora that the parent process has written."""
    return json.loads(file.read_text(encoding="utf-8"))
