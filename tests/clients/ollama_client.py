"""Does the `ollama` Python package work against the daemon? Usage: ollama_client.py URL MODEL"""

import asyncio
import datetime
import pathlib
import sys
import tempfile

from checks import GRASS, SIZE, SKY, SKY_TOKENS, check, holds, is_sky, near, refused, run, same, soon, unit
from ollama import AsyncClient, Client, ResponseError

url, model = sys.argv[1:]


def names(listing):
    return [entry.model for entry in listing.models]


def fails(status, text, call):
    error = refused(ResponseError, call)
    same((error.status_code, error.error), (status, text))


def seconds_left(client):
    """Returns for how long the one loaded model stays."""
    (entry,) = client.ps().models
    return (entry.expires_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


@check
def list_models(client, model):
    entry = next(entry for entry in client.list().models if entry.model == f"{model}:latest")
    same(len(entry.digest), 64)
    holds(entry.size > 80_000_000, f"size {entry.size}")
    holds(entry.modified_at.tzinfo, "modified_at has no offset")
    same(entry.details.format, "safetensors")


@check
def show(client, model):
    shown = client.show(model)
    same(shown.capabilities, ["embedding"])
    family = shown.modelinfo["general.architecture"]
    same(shown.modelinfo[f"{family}.embedding_length"], SIZE)
    holds("FROM" in shown.modelfile, shown.modelfile)
    holds("apache" in shown.license.lower(), shown.license)


@check
def pull_streams_to_success(client, model):
    lines = list(client.pull(model, stream=True))
    same(lines[0].status, "pulling manifest")
    same(lines[-1].status, "success")
    blobs = [line for line in lines if line.digest]
    holds(blobs, "no line names a blob")
    for line in blobs:
        same(line.status, f"pulling {line.digest.removeprefix('sha256:')[:12]}")
        holds((line.completed or 0) <= line.total, f"{line}")


@check
def pull_at_once(client, model):
    same(client.pull(model).status, "success")


@check
def embed_one(client, model):
    answer = client.embed(model=model, input=SKY)
    same(answer.model, model)
    same(len(answer.embeddings), 1)
    is_sky(answer.embeddings[0])
    same(answer.prompt_eval_count, SKY_TOKENS)
    holds(answer.total_duration > 0, f"total_duration {answer.total_duration}")


@check
def embed_batch_equals_singles(client, model):
    answer = client.embed(model=model, input=[SKY, GRASS, ""])
    same(answer.prompt_eval_count, 2 * SKY_TOKENS + 2)
    singles = [client.embed(model=model, input=[text]).embeddings[0] for text in (SKY, GRASS, "")]
    same(answer.embeddings, singles)


@check
def embed_nothing(client, model):
    for nothing in ("", []):
        same(client.embed(model=model, input=nothing).embeddings, [])


@check
def embed_echoes_the_name(client, model):
    same(client.embed(model=model.upper(), input=SKY).model, model.upper())
    same(client.embed(model=f"{model}:latest", input=SKY).model, f"{model}:latest")


@check
def embeddings(client, model):
    vector = client.embeddings(model=model, prompt=SKY).embedding
    near(vector, client.embed(model=model, input=SKY).embeddings[0], 1e-7)
    same(client.embeddings(model=model, prompt="").embedding, [])


@check
def dimensions(client, model):
    whole = client.embed(model=model, input=SKY).embeddings[0]
    cut = client.embed(model=model, input=SKY, dimensions=64).embeddings[0]
    unit(cut, 64)
    near([x / cut[0] for x in cut], [x / whole[0] for x in whole[:64]], 1e-3)
    same(client.embed(model=model, input=SKY, dimensions=100_000).embeddings[0], whole)


@check
def option_num_ctx(client, model):
    why = client.embed(model=model, input="why")
    cut = client.embed(model=model, input=SKY, options={"num_ctx": 3})
    same(cut.prompt_eval_count, why.prompt_eval_count)
    near(cut.embeddings[0], why.embeddings[0], 1e-6)
    same(client.embed(model=model, input=SKY, options={"num_ctx": 100, "temperature": 0}).prompt_eval_count, SKY_TOKENS)


@check
def too_long(client, model):
    text = "the input length exceeds the context length"
    fails(400, text, lambda: client.embed(model=model, input=SKY, truncate=False, options={"num_ctx": 3}))
    fails(400, text, lambda: client.embed(model=model, input=["x", "word " * 1000], truncate=False))
    text = "input after truncation exceeds maximum context length"
    fails(400, text, lambda: client.embed(model=model, input=SKY, options={"num_ctx": 1}))
    same(len(client.embed(model=model, input="word " * 1000).embeddings), 1)


@check
def keep_alive(client, model):
    for value, low, high in (("10m", 590, 601), (42, 30, 42), (42.5, 30, 42.5), (-1, 1e9, 1e12), ("-1m", 1e9, 1e12)):
        client.embed(model=model, input=SKY, keep_alive=value)
        left = seconds_left(client)
        holds(low < left < high, f"keep_alive {value!r} leaves {left} s")


@check
def keep_alive_refused(client, model):
    for value, text in (
        ("60", 'time: missing unit in duration "60"'),
        ("abc", 'time: invalid duration "abc"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
    ):
        fails(400, text, lambda value=value: client.embed(model=model, input=SKY, keep_alive=value))


@check
def ps_and_unload(client, model):
    client.embed(model=model, input=SKY, keep_alive="5m")
    (entry,) = client.ps().models
    same((entry.model, entry.name), (f"{model}:latest", f"{model}:latest"))
    holds(entry.size > 0 and entry.size_vram >= 0 and entry.context_length > 0, f"{entry}")
    client.embed(model=model, input=SKY, keep_alive=0)
    soon(lambda: client.ps().models == [], "keep_alive 0 unloads the model")
    client.embed(model=model, input=SKY)
    same(client.generate(model=model, keep_alive=0).done_reason, "unload")
    soon(lambda: client.ps().models == [], "generate with keep_alive 0 unloads the model")
    same(client.chat(model=model, keep_alive=0).done_reason, "unload")


@check
def no_generation(client, model):
    fails(400, f'"{model}" does not support generate', lambda: client.generate(model=model, prompt="hello"))
    messages = [{"role": "user", "content": "hello"}]
    fails(400, f'"{model}" does not support chat', lambda: client.chat(model=model, messages=messages))


@check
def copy_and_delete(client, model):
    same(client.copy(model, "team/copied:v1").status, "success")
    holds("team/copied:v1" in names(client.list()), "the copy is not listed")
    is_sky(client.embed(model="team/copied:v1", input=SKY).embeddings[0])
    same(client.delete("team/copied:v1").status, "success")
    holds("team/copied:v1" not in names(client.list()), "the deleted model is listed")
    is_sky(client.embed(model=model, input=SKY).embeddings[0])


@check
def create_from_a_model(client, model):
    lines = list(client.create(model="short", from_=model, parameters={"num_ctx": 16}, stream=True))
    same(lines[-1].status, "success")
    holds(client.show("short").parameters.split() == ["num_ctx", "16"], client.show("short").parameters)
    same(client.embed(model="short", input="word " * 100).prompt_eval_count, 16)
    same(client.create(model="short", from_=model).status, "success")
    client.delete("short")


@check
def create_blob(client, _model):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "blob")
        file.write_bytes(b"any bytes")
        want = "sha256:23914a83c3c7080988b4aab957e8c1abf4a281df9cc77c7e1d43d3e81f39e94e"
        same([client.create_blob(file), client.create_blob(file)], [want, want])


@check
def errors(client, model):
    missing = 'model "nope" not found, try pulling it first'
    fails(404, missing, lambda: client.embed(model="nope", input=SKY))
    fails(404, missing, lambda: client.embeddings(model="nope", prompt=SKY))
    fails(404, "model 'nope:latest' not found", lambda: client.show("nope"))
    fails(404, "model 'nope' not found", lambda: client.delete("nope"))
    fails(404, 'model "nope" not found', lambda: client.copy("nope", "other"))
    fails(400, "invalid model name", lambda: client.embed(model="a b", input=SKY))
    fails(400, "invalid model name", lambda: client.pull("a b"))
    fails(400, "neither 'from' or 'files' was specified", lambda: client.create(model="empty"))
    fails(500, 'option "num_ctx" must be of type integer', lambda: client.embed(model, SKY, options={"num_ctx": "x"}))


@check
def asynchronous(client, model):
    async def work():
        async with AsyncClient(host=url, timeout=120) as other:
            texts = [f"{SKY} {n}" for n in range(8)]
            answers = await asyncio.gather(*(other.embed(model=model, input=text) for text in texts))
            lines = [line.status async for line in await other.pull(model, stream=True)]
            return [answer.embeddings[0] for answer in answers], lines, await other.list()

    vectors, lines, listing = asyncio.run(work())
    same(vectors, client.embed(model=model, input=[f"{SKY} {n}" for n in range(8)]).embeddings)
    same(lines[-1], "success")
    same(names(listing), names(client.list()))


run(Client(host=url, timeout=120), model)
