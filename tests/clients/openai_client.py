"""Does the `openai` Python package work against the daemon? Usage: openai_client.py URL MODEL"""

import asyncio
import sys

from checks import GRASS, SKY, SKY_IDS, SKY_TOKENS, check, holds, is_sky, near, refused, run, same, unit
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

url, model = sys.argv[1:]
settings = {"base_url": f"{url}/v1", "api_key": "any", "max_retries": 0, "timeout": 120}


def fails(kind, text, call):
    body = refused(kind, call).body
    word = {NotFoundError: "not_found_error", BadRequestError: "invalid_request_error"}[kind]
    same(body, {"message": text, "type": word, "param": None, "code": None})


@check
def embed_one(client, model):
    answer = client.embeddings.create(model=model, input=SKY)
    same((answer.object, answer.model), ("list", model))
    same([(item.object, item.index) for item in answer.data], [("embedding", 0)])
    is_sky(answer.data[0].embedding)
    same((answer.usage.prompt_tokens, answer.usage.total_tokens), (SKY_TOKENS, SKY_TOKENS))


@check
def base64_equals_float(client, model):
    # The package asks for base64 when nobody names a format, and decodes it.
    packed = client.embeddings.create(model=model, input=SKY).data[0].embedding
    plain = client.embeddings.create(model=model, input=SKY, encoding_format="float").data[0].embedding
    near(packed, plain, 1e-8)
    text = client.embeddings.create(model=model, input=SKY, encoding_format="base64").data[0].embedding
    holds(isinstance(text, str) and len(text) == 2048, "base64 of 384 floats has 2048 letters")


@check
def embed_batch(client, model):
    answer = client.embeddings.create(model=model, input=[SKY, GRASS])
    same([item.index for item in answer.data], [0, 1])
    same(answer.usage.prompt_tokens, 2 * SKY_TOKENS)
    for text, item in zip((SKY, GRASS), answer.data):
        same(client.embeddings.create(model=model, input=text).data[0].embedding, item.embedding)


@check
def empty_text(client, model):
    same(client.embeddings.create(model=model, input="").usage.prompt_tokens, 2)


@check
def dimensions(client, model):
    unit(client.embeddings.create(model=model, input=SKY, dimensions=64).data[0].embedding, 64)


@check
def token_ids(client, model):
    want = client.embeddings.create(model=model, input=SKY).data[0].embedding
    for ids, count in ((SKY_IDS, 1), ([SKY_IDS, SKY_IDS], 2)):
        answer = client.embeddings.create(model=model, input=ids)
        same(len(answer.data), count)
        same(answer.usage.prompt_tokens, count * SKY_TOKENS)
        for item in answer.data:
            near(item.embedding, want, 1e-6)


@check
def list_models(client, model):
    listed = {entry.id: entry for entry in client.models.list()}
    entry = listed[f"{model}:latest"]
    same((entry.object, entry.owned_by), ("model", "library"))
    holds(entry.created > 1_600_000_000, f"created {entry.created}")


@check
def retrieve_model(client, model):
    same(client.models.retrieve(model).id, model)
    fails(NotFoundError, "model 'nope:latest' not found", lambda: client.models.retrieve("nope"))


@check
def errors(client, model):
    create = client.embeddings.create
    fails(NotFoundError, 'model "nope" not found, try pulling it first', lambda: create(model="nope", input=SKY))
    fails(BadRequestError, "invalid model name", lambda: create(model="a b", input=SKY))
    fails(BadRequestError, "invalid input", lambda: create(model=model, input=[]))
    text = "Invalid value for 'encoding_format' = json. Supported values: ['float', 'base64']."
    fails(BadRequestError, text, lambda: create(model=model, input=SKY, encoding_format="json"))


@check
def asynchronous(client, model):
    async def work():
        async with AsyncOpenAI(**settings) as other:
            texts = (SKY, GRASS) * 4
            return await asyncio.gather(*(other.embeddings.create(model=model, input=text) for text in texts))

    want = [item.embedding for item in client.embeddings.create(model=model, input=[SKY, GRASS] * 4).data]
    same([answer.data[0].embedding for answer in asyncio.run(work())], want)


run(OpenAI(**settings), model)
