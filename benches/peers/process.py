"""How is a peer driven from outside? As a process that answers commands and is stopped between them."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engines import Setting

PR_SET_PDEATHSIG = 1
TORCH = "sentence-transformers"
# torch would give every large buffer back to the kernel and fault it in again; the others keep theirs.
QUICK_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def threads() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def die_with_parent() -> None:
    """Asks Linux to kill this new process when its parent ends: one that is stopped would stay for ever."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """What all engines share: a process that runs only while it is measured."""

    process: subprocess.Popen

    def run(self, corpus: str, setting: Setting) -> float:
        """Returns the seconds that the corpus takes."""
        raise NotImplementedError

    def queries(self, count: int, setting: Setting) -> list[float]:
        """Returns the seconds of each query of a stream, one after the other."""
        raise NotImplementedError

    def vectors(self, corpus: str, setting: Setting, file: Path) -> np.ndarray:
        """Returns the vectors of a corpus, which go through the file."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stops every thread of the process."""
        self.process.send_signal(signal.SIGSTOP)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Lets the process run for the length of a block."""
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.pause()

    def memory_mb(self) -> float:
        """Returns the resident memory of the process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:"))

    def cpu_s(self) -> float:
        """Returns the processor time of the process and of this one, which may be its client."""
        both = (self.process.pid, os.getpid())
        fields = (Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in both)
        return sum(int(found[11]) + int(found[12]) for found in fields) * TICK_S

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()


class Peer(Process):
    """A peer in a process of its own."""

    def __init__(self, description: dict, log: Path) -> None:
        child = [sys.executable, str(Path(__file__).with_name("child.py")), json.dumps(description)]
        count = str(threads())
        limits = {"OMP_NUM_THREADS": count, "RAYON_NUM_THREADS": count, "TOKENIZERS_PARALLELISM": "true"}
        offline = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        settings = dict(os.environ) | limits | offline | (QUICK_MEMORY if description["kind"] == TORCH else {})
        pipes: dict = {"preexec_fn": die_with_parent, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with log.open("a") as errors:
            self.process = subprocess.Popen(child, env=settings, stderr=errors, **pipes)
        self.read()
        self.pause()

    def read(self):
        """Returns the next answer."""
        line = self.process.stdout.readline()
        found = json.loads(line) if line else {"error": "the process ended"}
        if "error" in found:
            raise RuntimeError(found["error"])
        return found["answer"]

    def ask(self, do: str, **arguments):
        """Sends a command and returns its answer."""
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        return self.read()

    def run(self, corpus: str, setting: Setting) -> float:
        return self.ask("run", corpus=corpus, setting=setting)

    def queries(self, count: int, setting: Setting) -> list[float]:
        return self.ask("queries", count=count, setting=setting)

    def vectors(self, corpus: str, setting: Setting, file: Path) -> np.ndarray:
        self.ask("vectors", corpus=corpus, setting=setting, file=str(file))
        return np.load(file)


def busy_s() -> float:
    """Returns the processor time that the whole machine has spent on work."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, _, _, interrupt, soft, *_ = map(int, first.split()[1:])
    return (user + nice + system + interrupt + soft) * TICK_S
