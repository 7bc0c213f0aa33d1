"""What does the reader see? Markdown tables, ratios first, and the same as JSON."""

import importlib.metadata
import platform
import statistics
import sys
from datetime import date
from pathlib import Path

import numpy as np

from compare import Measured, fidelity, median_rate
from process import threads

FLAGS = ["avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm"]
PACKAGES = ["torch", "transformers", "sentence-transformers", "onnxruntime", "llama-cpp-python", "numpy"]
PRECISIONS = ["f32", "bf16", "int8"]
# A repetition is worth little when other processes used more of the machine than this.
FOREIGN_LIMIT = 0.12


def processor() -> dict:
    """Returns the model and the flags that matter of this machine's processor."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {"model": fields.get("model name", platform.machine()), "flags": [flag for flag in FLAGS if flag in flags]}


def versions() -> dict[str, str]:
    """Returns the versions of the peers that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def results(all_measured: list[Measured], names: list[str], tokens: dict[str, int], reference: np.ndarray) -> dict:
    """Returns everything that was measured as plain data."""
    machine = {"processor": processor(), "threads": threads(), "date": date.today().isoformat()}
    return machine | {
        "command": " ".join(["python3 benches/peers.py", *sys.argv[1:]]),
        "versions": versions(),
        "tokens": tokens,
        "speed": {name: speed_rows(all_measured, name, tokens[name]) for name in names},
        "engines": [engine_row(measured, reference) for measured in all_measured],
        "tried_seconds": {measured.engine.name: measured.tried for measured in all_measured},
    }


def speed_rows(all_measured: list[Measured], name: str, tokens: int) -> list[dict]:
    """Returns a row per engine and setting, with the ratios of Vecuna's first setting to it."""
    vecuna = {
        measured.engine.precision: median_rate(measured, name, measured.best[name][0], tokens)
        for measured in all_measured
        if measured.engine.name.startswith("vecuna")
    }
    rows = []
    for measured in all_measured:
        for setting in measured.best[name]:
            rate = median_rate(measured, name, setting, tokens)
            row: dict = {"engine": measured.engine.name, "like": measured.engine.precision}
            row |= {"setting": measured.written(setting)}
            row |= {"ratios": {precision: vecuna[precision] / rate for precision in PRECISIONS if precision in vecuna}}
            row |= {"tokens_per_s": rate, "foreign": statistics.median(measured.foreign[name, setting])}
            rows.append(row | {"seconds": measured.runs[name, setting]})
    return rows


def engine_row(measured: Measured, reference: np.ndarray) -> dict:
    """Returns what is one number per engine: query, fidelity, memory."""
    row: dict = {"engine": measured.engine.name, "like": measured.engine.precision, "memory_mb": measured.memory_mb}
    row |= {"query": percentiles(measured.queries), "cosine": fidelity(measured.vectors, reference)}
    return row | ({"burdened": percentiles(measured.burdened)} if measured.burdened else {})


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Returns the median and the 95th percentile in milliseconds."""
    return {f"p{share}_ms": float(np.percentile(seconds, share)) * 1000 for share in (50, 95)}


def print_all(found: dict) -> None:
    """Prints the tables."""
    cpu, packages = found["processor"], ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    print(f"\n{cpu['model']} ({' '.join(cpu['flags'])}), {found['threads']} threads, {found['date']}; {packages}")
    print(f"\n    {found['command']}")
    for name, rows in found["speed"].items():
        print_speed(name, rows, found["tokens"][name])
    print_engines(found["engines"])
    shares = [row["foreign"] for rows in found["speed"].values() for row in rows]
    if shares and max(shares) > FOREIGN_LIMIT:
        print(f"\nNot quiet: in the median repetition of a row others used up to {max(shares):.0%} of the machine.")


def print_speed(name: str, rows: list[dict], tokens: int) -> None:
    """Prints one corpus; the ratio of the precision that fits is bold."""
    print(f"\n### {name}: {tokens:,} tokens\n")
    print("How many times as fast Vecuna is (64 texts a call, one connection), by its precision:\n")
    print("| engine | setting | f32 | bf16 | int8 | tokens/s | foreign load |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        ratios = " | ".join(ratio(row, precision) for precision in PRECISIONS)
        rest = f"{row['tokens_per_s']:,.0f} | {row['foreign']:.0%}"
        print(f"| {row['engine']} | {row['setting']} | {ratios} | {rest} |")


def ratio(row: dict, precision: str) -> str:
    """Writes one ratio."""
    if precision not in row["ratios"]:
        return "–"
    written = f"{row['ratios'][precision]:.2f}"
    return f"**{written}**" if row["like"] == precision else written


def print_engines(rows: list[dict]) -> None:
    """Prints queries, fidelity and memory."""
    vecuna = {row["like"]: row["query"]["p50_ms"] for row in rows if row["engine"].startswith("vecuna")}
    print("\n### One query of 8 tokens, fidelity on the mixed corpus against sentence-transformers f32, memory\n")
    titles = ["engine", "Vecuna's p50 is so many times shorter", "p50 ms", "p95 ms", "beside burners p50 ms", "p95 ms"]
    titles += ["p95 grows", "cosine min", "mean", "top 10 kept", "resident MB"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for row in rows:
        shorter = row["query"]["p50_ms"] / vecuna[row["like"]] if row["like"] in vecuna else None
        cosine = row["cosine"]
        cells = [row["engine"], "–" if shorter is None else f"**{shorter:.2f}**", *query_cells(row)]
        cells += [f"{cosine['min']:.5f}", f"{cosine['mean']:.5f}", f"{cosine['top10']:.3f}", f"{row['memory_mb']:.0f}"]
        print(f"| {' | '.join(cells)} |")


def query_cells(row: dict) -> list[str]:
    """Writes the quiet and the burdened query."""
    quiet, burdened = row["query"], row.get("burdened")
    cells = [f"{quiet['p50_ms']:.2f}", f"{quiet['p95_ms']:.2f}"]
    if burdened is None:
        return cells + ["–"] * 3
    grows = burdened["p95_ms"] / quiet["p95_ms"]
    return cells + [f"{burdened['p50_ms']:.2f}", f"{burdened['p95_ms']:.2f}", f"{grows:.1f}×"]
