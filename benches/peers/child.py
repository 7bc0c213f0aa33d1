"""What runs inside a peer's process? Commands come in as lines of JSON, answers go out likewise.

Started by process.py, with the engine's description as its only argument. The parent stops the whole process (SIGSTOP)
while others are measured, so that no thread pool of it can spin.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import corpora
from engines import Llama, Onnx, SentenceTransformers, Setting

ENGINES = {"sentence-transformers": SentenceTransformers, "onnxruntime": Onnx, "llama.cpp": Llama}


class Child:
    """The engine, the texts, and the commands."""

    def __init__(self, description: dict) -> None:
        self.texts = corpora.load(Path(description["corpora"]))
        self.engine = ENGINES[description["kind"]](**description["arguments"])

    def run(self, corpus: str, setting: list[int]) -> float:
        """Returns the seconds that the corpus takes."""
        texts, chosen = self.texts[corpus], Setting(*setting)
        start = time.perf_counter()
        self.engine.encode(texts, chosen)
        return time.perf_counter() - start

    def queries(self, count: int, setting: list[int]) -> list[float]:
        """Returns the seconds of each of `count` queries, one after the other."""
        texts, chosen, found = self.texts["query"], Setting(*setting), []
        for index in range(count):
            start = time.perf_counter()
            self.engine.encode([texts[index % len(texts)]], chosen)
            found.append(time.perf_counter() - start)
        return found

    def vectors(self, corpus: str, setting: list[int], file: str) -> None:
        """Writes the vectors of a corpus."""
        np.save(file, np.asarray(self.engine.encode(self.texts[corpus], Setting(*setting)), dtype=np.float32))


def main() -> None:
    """Obeys until the input ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    child = None
    try:
        child = Child(json.loads(sys.argv[1]))
        print(json.dumps({"answer": "ready"}), file=answers)
        for line in sys.stdin:
            command = json.loads(line)
            answer = getattr(child, command.pop("do"))(**command)
            print(json.dumps({"answer": answer}), file=answers)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)
        raise


if __name__ == "__main__":
    main()
