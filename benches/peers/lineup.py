"""Who takes part, with which settings to try, and what is compared with what?"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from compare import Engine
from engines import Setting
from prepare import gguf_files, model_folder, onnx_files
from process import Peer, threads
from report import processor
from vecuna import Vecuna

BATCHES = [1, 8, 32]
# A batch must hold the longest text, 256 tokens; a large one costs llama.cpp scores between texts that it then masks.
LLAMA_TOKENS = [256, 512, 1024, 2048]
BATCH = "batch {size}, {streams} at once"
LLAMA_BATCH = "{size} tokens, {streams} at once"
CALLS = "{size} a call, {streams} connections"


def engines(binary: Path, texts: dict[str, list[str]], folder: Path) -> list[Engine]:
    """Returns every engine that can run here, Vecuna first."""
    return [*vecuna(binary, texts, folder), *sentence_transformers(folder), *onnxruntime(folder), *llama(folder)]


def reference(folder: Path) -> np.ndarray:
    """Returns the vectors that every engine should give."""
    process = peer(folder, "sentence-transformers", model=str(model_folder()), precision="f32")()
    with process.awake():
        vectors = process.vectors("fidelity", Setting(32, 1), folder / "reference.npy")
    process.end()
    return vectors


def peer(folder: Path, kind: str, **settings: str) -> Callable[[], Peer]:
    """Returns how a peer is started."""
    arguments = {"threads": threads(), **settings}
    description = {"kind": kind, "corpora": str(folder / "corpora.json"), "arguments": arguments}
    return lambda: Peer(description, folder / "peers.log")


def several(sizes: list[int]) -> list[Setting]:
    """Returns each size with one stream on all threads, and with one thread for each of several streams."""
    return [Setting(size, streams) for streams in sorted({1, threads()}) for size in sizes]


def vecuna(binary: Path, texts: dict[str, list[str]], folder: Path) -> list[Engine]:
    """Returns the daemon in each precision; nothing of it is tuned, and the first setting is the one of the ratios."""

    def start(precision: str) -> Callable[[], Vecuna]:
        return lambda: Vecuna(binary, model_folder(), precision, texts, folder)

    settings = [Setting(64, 1), Setting(64, 2), Setting(1, 1)]
    kinds = ["f32", "bf16", "int8"]
    return [Engine(f"vecuna {kind}", kind, start(kind), settings, CALLS, tuned=False) for kind in kinds]


def sentence_transformers(folder: Path) -> list[Engine]:
    """Returns f32, and bf16 where the processor multiplies it; elsewhere it would only be slower."""
    has_bf16 = {"avx512_bf16", "amx_bf16", "bf16"} & set(processor()["flags"])
    kinds = ["f32", "bf16"] if has_bf16 else ["f32"]
    starts = {kind: peer(folder, "sentence-transformers", model=str(model_folder()), precision=kind) for kind in kinds}
    settings = [Setting(size, 1) for size in BATCHES]
    return [Engine(f"sentence-transformers {kind}", kind, start, settings, BATCH) for kind, start in starts.items()]


def onnxruntime(folder: Path) -> list[Engine]:
    """Returns every ONNX form."""
    has_vnni = any("vnni" in flag for flag in processor()["flags"])
    found = []
    for form, file in onnx_files(model_folder(), folder, has_vnni).items():
        start = peer(folder, "onnxruntime", model=str(model_folder()), file=str(file))
        found.append(Engine(f"onnxruntime {form}", form.split("-")[0], start, several(BATCHES), BATCH))
    return found


def llama(folder: Path) -> list[Engine]:
    """Returns the GGUF forms, if llama.cpp could be built: F16 computes with 16 bits, Q8_0 with 8."""
    if importlib.util.find_spec("llama_cpp") is None:
        print("llama.cpp is left out: llama-cpp-python is not installed", flush=True)
        return []
    like = {"F16": "bf16", "Q8_0": "int8"}
    found = []
    for form, file in gguf_files(model_folder(), folder).items():
        start = peer(folder, "llama.cpp", file=str(file))
        found.append(Engine(f"llama.cpp {form}", like[form], start, several(LLAMA_TOKENS), LLAMA_BATCH))
    return found
