"""How is each peer called at its fastest? One class per library: texts in, unit vectors out, tokenising included."""

import ctypes
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

import corpora


class Setting(NamedTuple):
    """How a corpus is cut and run; which is fastest is found by trying."""

    size: int
    """Texts of a batch; of llama.cpp the tokens of one."""
    streams: int
    """Batches at once, each on its share of the threads."""


def spread(run: Callable[[list[int]], None], groups: list[list[int]], streams: int, pool: ThreadPoolExecutor) -> None:
    """Runs the groups in turn, or `streams` at once."""
    if streams == 1:
        for group in groups:
            run(group)
    else:
        list(pool.map(run, groups))


class SentenceTransformers:
    """sentence-transformers on torch. It sorts by length itself; its tokenizer allows no second stream."""

    def __init__(self, model: str, precision: str, threads: int) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.model = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": dtype})

    def encode(self, texts: list[str], setting: Setting) -> np.ndarray:
        """Returns the vectors of the texts."""
        return self.model.encode(texts, batch_size=setting.size, show_progress_bar=False)


class Onnx:
    """onnxruntime on a graph that pools and normalises; batches are sorted by their true length."""

    def __init__(self, model: str, file: str, threads: int) -> None:
        self.tokenizer = corpora.tokenizer(Path(model))
        self.file, self.threads = file, threads
        self.pool = ThreadPoolExecutor(threads)
        self.sessions: dict[int, object] = {}

    def session(self, streams: int):
        """Returns the session for so many streams, made at its first use."""
        import onnxruntime

        if streams not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = max(1, self.threads // streams)
            options.inter_op_num_threads = 1
            processor = ["CPUExecutionProvider"]
            self.sessions[streams] = onnxruntime.InferenceSession(self.file, options, providers=processor)
        return self.sessions[streams]

    def encode(self, texts: list[str], setting: Setting) -> np.ndarray:
        """Returns the vectors of the texts."""
        session = self.session(setting.streams)
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        groups = [order[start : start + setting.size] for start in range(0, len(order), setting.size)]
        vectors: list[np.ndarray | None] = [None] * len(ids)

        def run(group: list[int]) -> None:
            found = session.run(None, feed([ids[index] for index in group]))[0]
            for index, vector in zip(group, found):
                vectors[index] = vector

        spread(run, groups, setting.streams, self.pool)
        return np.stack(vectors)


def feed(ids: list[list[int]]) -> dict[str, np.ndarray]:
    """Returns the inputs of one batch, padded to its longest text."""
    tokens = np.zeros((len(ids), max(map(len, ids))), dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, sequence in enumerate(ids):
        tokens[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}


class LlamaContext:
    """One llama.cpp context with a batch in numpy arrays, so that filling it costs nothing."""

    # LLAMA_MAX_SEQ of llama.cpp.
    MAX_TEXTS = 256

    def __init__(self, model, size: int, threads: int) -> None:
        import llama_cpp

        self.lib = llama_cpp
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = size
        settings.n_seq_max = self.MAX_TEXTS
        settings.n_threads = settings.n_threads_batch = threads
        settings.embeddings = settings.kv_unified = True
        self.context = llama_cpp.llama_init_from_model(model, settings)
        if not self.context:
            raise RuntimeError("llama.cpp made no context")
        self.dimensions = llama_cpp.llama_model_n_embd(model)
        self.token, self.position, self.text = (np.zeros(size, dtype=np.int32) for _ in range(3))
        self.fill_batch(size)

    def fill_batch(self, size: int) -> None:
        """Points llama.cpp's batch to our arrays."""
        self.count, self.output = np.ones(size, dtype=np.int32), np.ones(size, dtype=np.int8)
        start = self.text.ctypes.data
        self.pointers = np.arange(start, start + 4 * size, 4, dtype=np.uint64)
        batch = self.lib.llama_batch()
        arrays = {"token": self.token, "pos": self.position, "n_seq_id": self.count}
        arrays |= {"seq_id": self.pointers, "logits": self.output}
        kinds = dict(batch._fields_)
        for name, array in arrays.items():
            setattr(batch, name, ctypes.cast(array.ctypes.data, kinds[name]))
        self.batch = batch

    def embed(self, texts: list[list[int]]) -> np.ndarray:
        """Returns the vectors of texts that fit into one batch."""
        lengths = [len(text) for text in texts]
        total = sum(lengths)
        self.token[:total] = np.concatenate(texts)
        self.text[:total] = np.repeat(np.arange(len(texts)), lengths)
        self.position[:total] = np.concatenate([np.arange(length) for length in lengths])
        self.batch.n_tokens = total
        if self.lib.llama_encode(self.context, self.batch) != 0:
            raise RuntimeError("llama_encode failed")
        found = (self.lib.llama_get_embeddings_seq(self.context, index) for index in range(len(texts)))
        vectors = np.stack([np.ctypeslib.as_array(vector, (self.dimensions,)).copy() for vector in found])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Llama:
    """llama.cpp as a library: many texts a batch, nothing padded, its own tokenizer on all threads."""

    def __init__(self, file: str, threads: int) -> None:
        import llama_cpp

        self.lib = llama_cpp
        self.silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.silence, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(file.encode(), llama_cpp.llama_model_default_params())
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.threads, self.pool = threads, ThreadPoolExecutor(threads)
        self.contexts: dict[Setting, queue.SimpleQueue[LlamaContext]] = {}

    def tokenize(self, text: str) -> list[int]:
        """Returns the tokens of a text, cut to the window with [SEP] at the end."""
        raw = text.encode()
        tokens = (self.lib.llama_token * (len(raw) + 2))()
        count = self.lib.llama_tokenize(self.vocabulary, raw, len(raw), tokens, len(tokens), True, False)
        limit = corpora.MAX_TOKENS
        return tokens[:count] if count <= limit else [*tokens[: limit - 1], tokens[count - 1]]

    def contexts_of(self, setting: Setting) -> "queue.SimpleQueue[LlamaContext]":
        """Returns the contexts of a setting, one per stream, made at their first use."""
        if setting not in self.contexts:
            self.contexts[setting] = queue.SimpleQueue()
            for _ in range(setting.streams):
                context = LlamaContext(self.model, setting.size, max(1, self.threads // setting.streams))
                self.contexts[setting].put(context)
        return self.contexts[setting]

    def encode(self, texts: list[str], setting: Setting) -> np.ndarray:
        """Returns the vectors of the texts."""
        contexts = self.contexts_of(setting)
        ids = list(self.pool.map(self.tokenize, texts)) if len(texts) > 1 else [self.tokenize(texts[0])]
        vectors: list[np.ndarray | None] = [None] * len(ids)

        def run(group: list[int]) -> None:
            context = contexts.get()
            for index, vector in zip(group, context.embed([ids[index] for index in group])):
                vectors[index] = vector
            contexts.put(context)

        spread(run, packs(ids, setting.size), setting.streams, self.pool)
        return np.stack(vectors)


def packs(ids: list[list[int]], size: int) -> list[list[int]]:
    """Fills batches of up to `size` tokens, longest texts first."""
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(ids)), key=lambda index: -len(ids[index])):
        if not groups or room < len(ids[index]) or len(groups[-1]) == LlamaContext.MAX_TEXTS:
            groups.append([])
            room = size
        groups[-1].append(index)
        room -= len(ids[index])
    return groups
