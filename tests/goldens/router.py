"""Which models take queries another way than documents, and what do both give?

splade-router: queries are looked up in a table of weights, documents are predicted. bert-router: a dense layer of its own for
either. `cases` are those of the default route; `tasks` hold both.
"""

import shutil
import zlib

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

import encoders
import golden
import sparse
import texts
import tiny
import vocab

TASKS = ["query", "document"]


def make(folder):
    """Makes both models and their golden files anew."""
    print("splade-router")
    looked_up(folder / "splade-router")
    print("bert-router")
    projected(folder / "bert-router")


def looked_up(folder):
    """As the inference-free models of OpenSearch are built."""
    tokenizer = vocab.wordpiece(200)
    sparse.save(folder, encoders.build("Bert", head="ForMaskedLM", layers=1)(len(tokenizer)).eval(), tokenizer)
    weight = torch.from_numpy(np.random.default_rng(7).random(len(tokenizer), dtype=np.float32) * 3)
    weight[::5] = 0
    router = Router.for_query_document(
        query_modules=[SparseStaticEmbedding(tokenizer=tokenizer, weight=weight)],
        document_modules=[Transformer(str(folder), transformer_task="fill-mask"), SpladePooling("max", "log1p_relu")],
    )
    model = SparseEncoder(modules=[router], device="cpu")
    shutil.rmtree(folder)
    model.save(str(folder), create_model_card=False)
    model = SparseEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    lists = {task: sparse_cases(model, task) for task in TASKS}
    default = sparse_cases(model, None)
    golden.write(folder.parent / f"{folder.name}.json", folder.name, 64, default, {"tasks": lists})


def sparse_cases(model, task):
    """Weights by the method of a task."""
    found = []
    for entry in texts.TINY:
        text = texts.full(entry)
        method = getattr(model, "encode" if task is None else f"encode_{task}")
        row = method([text], show_progress_bar=False, convert_to_sparse_tensor=False)[0].numpy()
        ids = model.preprocess([text], **({"task": task} if task else {}))["input_ids"][0].tolist()
        found.append(texts.fields(entry) | {"ids": ids, "sparse": sparse.pairs(row)})
    return found


def projected(folder):
    """One encoder, and a layer behind it for either."""
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = vocab.wordpiece(200)
    encoder = tiny.bert()(len(tokenizer)).eval()
    tiny.randomise(encoder, zlib.crc32(folder.name.encode()))
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    layers = [[Dense(16, 12, activation_function=torch.nn.Tanh())] for _ in TASKS]
    for number, (layer,) in enumerate(layers):
        tiny.randomise(layer, number)
    transformer = Transformer(str(folder))
    modules = [transformer, Pooling(16, "mean"), Router.for_query_document(*layers), Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save(str(folder), create_model_card=False)
    model = golden.load(folder)
    lists = {task: golden.cases(model, texts.TINY, task) for task in TASKS}
    golden.write(folder.parent / f"{folder.name}.json", folder.name, 64, golden.cases(model, texts.TINY), {"tasks": lists})
