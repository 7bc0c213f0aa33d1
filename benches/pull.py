#!/usr/bin/env python3
"""How fast is a pull from a registry on this machine, and what does it cost?

    cargo build --release && python3 benches/pull.py [--megabytes 1024] [--rounds 3] [--vecuna target/release/vecuna]

It starts Debian's docker-registry on loopback with one model of random bytes, and measures in turn, each round:
curl piped into openssl's SHA-256, a write to the disk with fsync, a pull into an empty store, a pull of what is there, and
`list` of 1,000 models. Only the Python standard library is needed.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

PIECE = 1 << 20


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder, port):
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    program = ["docker-registry", "serve", str(config)]
    registry = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/").read()
            return registry
        except OSError:
            time.sleep(0.05)
    raise SystemExit("docker-registry does not start")


def send(method, url, data=None, headers=None):
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    return urllib.request.urlopen(request)


def put_blob(base, path, digest):
    location = send("POST", f"{base}/blobs/uploads/", b"").headers["Location"]
    joint = "&" if "?" in location else "?"
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
    with path.open("rb") as file:
        send("PUT", f"{location}{joint}digest={digest}", file, headers)
    return {"digest": digest, "size": path.stat().st_size}


def fill(folder, base, megabytes):
    """Puts a model into the registry and returns the digest of its weights."""
    weights, config = folder / "weights", folder / "config"
    hasher = hashlib.sha256()
    with weights.open("wb") as file:
        for _ in range(megabytes):
            piece = os.urandom(PIECE)
            hasher.update(piece)
            file.write(piece)
    config.write_text('{"model_format":"safetensors","model_family":"none"}')
    digest = f"sha256:{hasher.hexdigest()}"
    title = {"org.opencontainers.image.title": "model.safetensors"}
    layer = put_blob(base, weights, digest) | {"mediaType": "application/vnd.vecuna.file", "annotations": title}
    about = put_blob(base, config, f"sha256:{hashlib.sha256(config.read_bytes()).hexdigest()}")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": about | {"mediaType": "application/vnd.vecuna.config.v1+json"},
        "layers": [layer],
    }
    send("PUT", f"{base}/manifests/latest", json.dumps(manifest).encode(), {"Content-Type": kind})
    weights.unlink()
    return digest


def timed(command, **more):
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    return time.monotonic() - begin


def peak(command, env):
    """Returns the seconds and the peak memory in MB of a command."""
    begin = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.monotonic() - begin, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vecuna", default="target/release/vecuna")
    arguments = parser.parse_args()
    vecuna, size = str(Path(arguments.vecuna).resolve()), arguments.megabytes
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        port = free_port()
        registry = start(folder, port)
        try:
            measure(folder, port, vecuna, size, arguments.rounds)
        finally:
            registry.kill()
            registry.wait()


def measure(folder, port, vecuna, size, rounds):
    model, base = f"127.0.0.1:{port}/bench/big", f"http://127.0.0.1:{port}/v2/bench/big"
    digest = fill(folder, base, size)
    store = folder / "store"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("VECUNA_", "OLLAMA_"))}
    env |= {"VECUNA_MODELS": str(store), "VECUNA_REGISTRY": "off", "VECUNA_CONFIG": "/dev/null"}
    rows = []
    for _ in range(rounds):
        copy = timed(["sh", "-c", f"curl -s {base}/blobs/{digest} | openssl dgst -sha256"])
        target = folder / "written"
        disk = timed(["dd", "if=/dev/zero", f"of={target}", "bs=1M", f"count={size}", "conv=fsync"])
        target.unlink()
        shutil.rmtree(store, ignore_errors=True)
        pull, memory, busy = peak([vecuna, "pull", model], env)
        warm, _, _ = peak([vecuna, "pull", model], env)
        rows.append((copy, disk, pull, warm, memory, busy))
        share = max(copy, disk) / pull
        print(
            f"copy {size / copy:.0f} MB/s, disk {size / disk:.0f} MB/s, pull {size / pull:.0f} MB/s "
            f"({share:.0%} of the lower, {busy:.2f} s of processor), peak {memory:.0f} MB, warm {warm * 1e3:.0f} ms"
        )
    tags = store / f"manifests/127.0.0.1:{port}/bench/big"
    for number in range(999):
        shutil.copy(tags / "latest", tags / f"v{number}")
    listed = [peak([vecuna, "list"], env)[0] for _ in range(5)]
    share = statistics.median(max(row[0], row[1]) / row[2] for row in rows)
    print(f"median share {share:.0%}; list of 1,000 models {statistics.median(listed) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
