"""How is Vecuna driven? As a user would: a daemon, `create`, and POST /api/embed."""

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np

from engines import Setting
from process import Process, die_with_parent

START_LIMIT_S = 60
REQUEST_LIMIT_S = 600


class Vecuna(Process):
    """The daemon with one model, asked through /api/embed over connections that are kept open.

    `Setting.size` is the texts of a call, `Setting.streams` the connections. Answers are read to their last byte, but
    only parsed where the vectors are wanted: what a client does with them is not the daemon's time.
    """

    def __init__(self, binary: Path, model: Path, precision: str, texts: dict[str, list[str]], folder: Path) -> None:
        self.texts, self.name = texts, precision
        self.port = free_port()
        store = folder / f"vecuna-{precision}"
        store.mkdir(exist_ok=True)
        quiet = {name: value for name, value in os.environ.items() if not name.startswith(("VECUNA_", "OLLAMA_"))}
        settings = {"VECUNA_HOST": f"127.0.0.1:{self.port}", "VECUNA_MODELS": str(store), "VECUNA_KEEP_ALIVE": "-1"}
        settings = quiet | settings
        serve = {"env": settings, "preexec_fn": die_with_parent}
        with (folder / "vecuna.log").open("a") as log:
            self.process = subprocess.Popen([str(binary), "serve"], stdout=log, stderr=log, **serve)
        self.connections: list[http.client.HTTPConnection] = []
        self.wait()
        modelfile = store / "Modelfile"
        modelfile.write_text(f"FROM {model}\nPARAMETER precision {precision}\n")
        create = [str(binary), "create", self.name, "-f", str(modelfile)]
        subprocess.run(create, env=settings, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pause()

    def wait(self) -> None:
        """Returns when the daemon answers."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("the daemon does not answer; see vecuna.log")

    def pause(self) -> None:
        """Stops the daemon and hangs up: it closes what idles for 10 s, which it would find true when it goes on."""
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        super().pause()

    def connection(self, index: int) -> http.client.HTTPConnection:
        """Returns the connection of a stream, opened at its first use."""
        while len(self.connections) <= index:
            opened = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_LIMIT_S)
            opened.connect()
            self.connections.append(opened)
        return self.connections[index]

    def call(self, texts: list[str], stream: int = 0) -> bytes:
        """Posts one request and returns the body of its answer."""
        connection = self.connection(stream)
        connection.request("POST", "/api/embed", json.dumps({"model": self.name, "input": texts}))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {body[:200]!r}")
        return body

    def run(self, corpus: str, setting: Setting) -> float:
        """Returns the seconds that the corpus takes."""
        texts = self.texts[corpus]
        calls = [texts[start : start + setting.size] for start in range(0, len(texts), setting.size)]
        shares = [calls[stream :: setting.streams] for stream in range(setting.streams)]
        self.connection(setting.streams - 1)
        failures: list[Exception] = []
        start = time.perf_counter()
        posts = [threading.Thread(target=self.post, args=(own, number, failures)) for number, own in enumerate(shares)]
        for post in posts:
            post.start()
        for post in posts:
            post.join()
        seconds = time.perf_counter() - start
        for failure in failures:
            raise failure
        return seconds

    def post(self, calls: list[list[str]], stream: int, failures: list[Exception]) -> None:
        """Posts requests one after the other; a thread must hand its failure over."""
        try:
            for texts in calls:
                self.call(texts, stream)
        except Exception as failure:
            failures.append(failure)

    def queries(self, count: int, setting: Setting) -> list[float]:
        """Returns the seconds of each query of a stream; the setting has nothing to say here."""
        texts, found = self.texts["query"], []
        for index in range(count):
            start = time.perf_counter()
            self.call([texts[index % len(texts)]])
            found.append(time.perf_counter() - start)
        return found

    def vectors(self, corpus: str, setting: Setting, file: Path) -> np.ndarray:
        """Returns the vectors of a corpus; no file is needed."""
        texts = self.texts[corpus]
        parts = (self.call(texts[start : start + setting.size]) for start in range(0, len(texts), setting.size))
        return np.array([vector for part in parts for vector in json.loads(part)["embeddings"]], dtype=np.float32)


def free_port() -> int:
    """Returns a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
