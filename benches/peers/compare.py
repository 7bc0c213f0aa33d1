"""In which order is everything measured? First each peer's best settings, then all in turn, one awake at a time."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engines import Setting
from process import Process, busy_s, die_with_parent, threads

BURNER = "while True: pass"
# Enough that the pages, caches and threads of an engine that was stopped are back.
WARM_QUERIES = 5
# Neighbours are compared among so many texts.
NEIGHBOURS_AMONG = 200


@dataclass
class Engine:
    """One row of the tables before it has numbers."""

    name: str
    precision: str
    """Which of Vecuna's precisions it is fairly compared with."""
    start: Callable[[], Process]
    candidates: list[Setting]
    label: str
    """How a setting is written, with {size} and {streams}."""
    tuned: bool = True
    """Whether the best candidates are looked for; else all are measured."""


@dataclass
class Measured:
    """What is known of an engine in the end. Seconds, but for `memory_mb`."""

    engine: Engine
    best: dict[str, list[Setting]] = field(default_factory=dict)
    tried: dict[str, dict[str, float]] = field(default_factory=dict)
    runs: dict[tuple[str, Setting], list[float]] = field(default_factory=dict)
    foreign: dict[tuple[str, Setting], list[float]] = field(default_factory=dict)
    queries: list[float] = field(default_factory=list)
    burdened: list[float] = field(default_factory=list)
    vectors: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    memory_mb: float = 0.0

    def written(self, setting: Setting) -> str:
        """Writes a setting for the tables."""
        return self.engine.label.format(size=setting.size, streams=setting.streams)


def tune(engine: Engine, names: list[str]) -> Measured:
    """Tries every setting on each corpus, twice, and keeps the best with one stream and the best with several."""
    measured = Measured(engine)
    if not engine.tuned:
        measured.best = {name: engine.candidates for name in [*names, "query"]}
        return measured
    print(f"finding the best settings of {engine.name}", flush=True)
    process = engine.start()
    try:
        with process.awake():
            for name in names:
                tries = {setting: min(process.run(name, setting) for _ in range(2)) for setting in engine.candidates}
                measured.tried[name] = {measured.written(setting): seconds for setting, seconds in tries.items()}
                measured.best[name] = best_by_streams(tries)
            streams = {setting.streams: setting for setting in engine.candidates}
            tries = {setting: statistics.median(process.queries(20, setting)) for setting in streams.values()}
            measured.best["query"] = [fastest(tries)]
    finally:
        process.end()
    return measured


def best_by_streams(tries: dict[Setting, float]) -> list[Setting]:
    """Returns the fastest setting of each number of streams."""
    groups: dict[int, list[Setting]] = {}
    for setting in tries:
        groups.setdefault(setting.streams, []).append(setting)
    return [fastest({setting: tries[setting] for setting in group}) for group in groups.values()]


def fastest(tries: dict[Setting, float]) -> Setting:
    """Returns the setting that took the least time."""
    return min(tries, key=lambda setting: tries[setting])


def check_vectors(measured: Measured, process: Process, folder: Path) -> None:
    """Takes the vectors that are compared, and the memory of a process that has done only this."""
    setting = measured.best.get("mixed", measured.engine.candidates)[0]
    with process.awake():
        measured.vectors = process.vectors("fidelity", setting, folder / "vectors.npy")
        measured.memory_mb = process.memory_mb()


def measure_once(measured: Measured, process: Process, name: str) -> None:
    """Measures one repetition of a corpus, and how much others used the machine meanwhile."""
    for setting in measured.best[name]:
        with process.awake():
            process.queries(WARM_QUERIES, measured.best["query"][0])
            start, busy, own = time.perf_counter(), busy_s(), process.cpu_s()
            seconds = process.run(name, setting)
            foreign = max(0.0, (busy_s() - busy) - (process.cpu_s() - own))
            share = foreign / (time.perf_counter() - start) / threads()
        measured.runs.setdefault((name, setting), []).append(seconds)
        measured.foreign.setdefault((name, setting), []).append(share)


def query_stream(measured: Measured, process: Process, count: int) -> list[float]:
    """Returns the seconds of each query after a few that do not count."""
    setting = measured.best["query"][0]
    with process.awake():
        process.queries(WARM_QUERIES, setting)
        return process.queries(count, setting)


class Round:
    """All engines side by side; their processes live as long as the `with` block."""

    def __init__(self, engines: list[Engine], names: list[str], folder: Path) -> None:
        self.engines, self.names, self.folder = engines, names, folder
        self.all: list[tuple[Measured, Process]] = []

    def __enter__(self) -> "Round":
        for measured in [tune(engine, self.names) for engine in self.engines]:
            process = measured.engine.start()
            self.all.append((measured, process))
            check_vectors(measured, process, self.folder)
        return self

    def __exit__(self, *_) -> None:
        for _, process in self.all:
            process.end()

    def measure(self, repetitions: int, queries: int) -> None:
        """Takes turns: repetition, corpus, engine."""
        for repetition in range(repetitions):
            print(f"repetition {repetition + 1} of {repetitions}", flush=True)
            for name in self.names:
                for measured, process in self.all:
                    measure_once(measured, process, name)
            for measured, process in self.all:
                measured.queries += query_stream(measured, process, queries)

    def burden(self, burners: int, repetitions: int, queries: int) -> None:
        """Repeats the queries beside processes that never rest."""
        print(f"queries beside {burners} burners", flush=True)
        busy = [subprocess.Popen([sys.executable, "-c", BURNER], preexec_fn=die_with_parent) for _ in range(burners)]
        try:
            for _ in range(repetitions):
                for measured, process in self.all:
                    measured.burdened += query_stream(measured, process, queries)
        finally:
            for burner in busy:
                burner.kill()
                burner.wait()

    def measured(self) -> list[Measured]:
        """Returns what was measured."""
        return [measured for measured, _ in self.all]


def median_rate(measured: Measured, name: str, setting: Setting, tokens: int) -> float:
    """Returns tokens per second in the median repetition."""
    return tokens / statistics.median(measured.runs[name, setting])


def fidelity(vectors: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Compares with the reference: cosines, and which ten texts are nearest to each."""
    vectors, reference = (found / np.linalg.norm(found, axis=1, keepdims=True) for found in (vectors, reference))
    cosines = (vectors * reference).sum(axis=1)
    few = slice(0, NEIGHBOURS_AMONG)
    pairs = zip(neighbours(vectors[few]), neighbours(reference[few]))
    kept = [len(set(ours) & set(theirs)) / 10 for ours, theirs in pairs]
    return {"min": float(cosines.min()), "mean": float(cosines.mean()), "top10": float(np.mean(kept))}


def neighbours(vectors: np.ndarray) -> np.ndarray:
    """Returns the ten nearest others of each vector."""
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -2)
    return np.argsort(-likeness, axis=1, kind="stable")[:, :10]
