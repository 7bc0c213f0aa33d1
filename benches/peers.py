#!/usr/bin/env python3
"""How fast is Vecuna beside the others, on the same texts, in one run?

    python3 benches/peers.py --binary target/release/vecuna [--quick] [--only NAME,…] [--burners N] [--json FILE]

It makes a virtual environment with the versions of benches/requirements.txt, gives every peer the same weights of
all-MiniLM-L6-v2, finds the best settings of each, and then takes turns: one engine runs, all others are stopped
(SIGSTOP). Vecuna is asked through HTTP, the peers are called as libraries without HTTP, warm and built for this
processor. Times include tokenising; tokens are true tokens, without padding. Linux only.

- sentence-transformers f32, and bf16 where the processor has it; it sorts by length itself.
- onnxruntime f32 and int8 (dynamic, per channel), each as exported and with fused operators, pooling inside the graph;
  sorted by length. Besides one batch on all threads it is also run with one thread on each of several batches at once.
- llama.cpp F16 and Q8_0, flash attention as it chooses, many texts in a batch, none padded; likewise.

Text Embeddings Inference and Ollama are not run here: neither comes through a Python package index. ONNX Runtime
stands for TEI's fastest path on a processor, and llama.cpp for what Ollama runs inside, both without the server's cost.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Holds the work folder, and says that the environment is entered.
INSIDE = "VECUNA_PEERS_INSIDE"
OPTIONAL = "llama-cpp-python"


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True, help="vecuna, built with --release")
    parser.add_argument("--quick", action="store_true", help="a quarter of the texts, three repetitions")
    parser.add_argument("--only", default="", help="engines whose names begin so, separated by commas")
    parser.add_argument("--corpora", default="short,mixed,long", help="names, or 'none' for queries only")
    parser.add_argument("--repetitions", type=int, help="7, or 3 with --quick")
    parser.add_argument("--queries", type=int, default=40, help="single queries per repetition and engine")
    parser.add_argument("--burners", type=int, default=0, help="repeat the queries beside so many busy processes")
    parser.add_argument("--work", type=Path, help="folder to keep environment and converted models in")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    found = parser.parse_args()
    found.repetitions = found.repetitions or (3 if found.quick else 7)
    return found


def enter_environment(folder: Path) -> int:
    """Makes the virtual environment, runs this script anew inside of it, and returns its exit status."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
    lines = (HERE / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    needed = [line for line in wanted if not line.startswith(OPTIONAL)]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *needed], check=True)
    settings = dict(os.environ)
    settings["CMAKE_ARGS"] = settings.get("CMAKE_ARGS", "") + " -DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"
    settings.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count()))
    extra = [line for line in wanted if line not in needed]
    if subprocess.run(["nice", "-n", "19", *pip, *extra], env=settings, check=False).returncode != 0:
        print(f"{OPTIONAL} could not be built: llama.cpp is left out", flush=True)
    command = [str(python), str(HERE / "peers.py"), *sys.argv[1:]]
    return subprocess.run(command, env=dict(os.environ) | {INSIDE: str(folder)}, check=False).returncode


def compare_all(options: argparse.Namespace) -> None:
    """Runs the comparison; this is inside of the environment, so that the peers can be imported."""
    import corpora
    import lineup
    import report
    from compare import Round

    folder = Path(os.environ[INSIDE]) / "peers"
    folder.mkdir(exist_ok=True)
    texts = corpora.cut(HERE.parent, share=4 if options.quick else 1)
    (folder / "corpora.json").write_text(json.dumps(texts))
    names = [] if options.corpora == "none" else options.corpora.split(",")
    engines = lineup.engines(options.binary.resolve(), texts, folder)
    only = tuple(name.strip() for name in options.only.split(","))
    chosen = [engine for engine in engines if engine.name.startswith(only)]
    reference = lineup.reference(folder)
    tokens = corpora.count_tokens(texts, lineup.model_folder())
    with Round(chosen, names, folder) as measuring:
        measuring.measure(options.repetitions, options.queries)
        if options.burners:
            measuring.burden(options.burners, options.repetitions, options.queries)
    found = report.results(measuring.measured(), names, tokens, reference)
    report.print_all(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    """Runs inside of the environment if this is it, else makes it."""
    options = arguments()
    if os.environ.get(INSIDE):
        sys.path.insert(0, str(HERE / "peers"))
        compare_all(options)
    elif options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        sys.exit(enter_environment(options.work.resolve()))
    else:
        with tempfile.TemporaryDirectory(prefix="vecuna-peers-") as folder:
            sys.exit(enter_environment(Path(folder)))


if __name__ == "__main__":
    main()
