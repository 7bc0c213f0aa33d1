"""What do CLIP and SigLIP give for texts and for images?

CLIP in the layout of clip-ViT-B-32, as OpenAI's repositories have it, and SigLIP as Google's have it.
"""

import json
import shutil
import zlib

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import golden
import images
import layouts
import texts
import tiny
import vocab

SIDE = 32
FILES = ["wide.png", "tall.png", "rgba.png", "palette.gif", "lossy.webp", "small.jpg"]
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
START, END = "<|startoftext|>", "<|endoftext|>"
TWO_ENDS = f"the sky {END} is blue"


def make(folder):
    """Makes the models and their golden files anew."""
    old_clip(folder / "clip")
    plain_clip(folder / "clip-plain")
    siglip(folder / "siglip")


def old_clip(folder):
    """The layout of sentence-transformers 2 to 5, with the end token 2 that transformers takes for the highest id."""
    print("clip")
    inner = folder / "0_CLIPModel"
    shutil.rmtree(folder, ignore_errors=True)
    save_clip(inner, 2)
    ready = {"feature_extractor_type": "CLIPFeatureExtractor"}
    layouts.put(inner / "preprocessor_config.json", images.CLIP | ready)
    module = {"idx": 0, "name": "0", "path": inner.name, "type": "sentence_transformers.models.CLIPModel"}
    layouts.put(folder / "modules.json", [module])
    versions = {"sentence_transformers": "2.0.0", "transformers": "4.7.0", "pytorch": "1.9.0"}
    layouts.put(folder / "config_sentence_transformers.json", {"__version__": versions})
    model = golden.load(folder)
    found = golden.cases(model, [*texts.TINY, TWO_ENDS])
    golden.check_tokenizer(inner, found, model.max_seq_length)
    write(folder, model, found)


def plain_clip(folder):
    """No word of sentence-transformers, a new end token, exact GELU, vocabulary and merges apart, sizes as transformers 5 has them."""
    print("clip-plain")
    shutil.rmtree(folder, ignore_errors=True)
    save_clip(folder, None, hidden_act="gelu")
    size = {"crop_size": {"height": SIDE, "width": SIDE}, "size": {"shortest_edge": SIDE + 4}, "resample": 2}
    layouts.put(folder / "preprocessor_config.json", images.CLIP | size)
    model = golden.load(folder)
    found = golden.cases(model, [*texts.TINY, TWO_ENDS])
    golden.check_tokenizer(folder, found, model.max_seq_length)
    inner = layouts.get(folder / "tokenizer.json")["model"]
    layouts.put(folder / "vocab.json", inner["vocab"])
    merges = [" ".join(pair) for pair in inner["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (folder / "tokenizer.json").unlink()
    write(folder, model, found)


def siglip(folder):
    """SigLIP as it was trained: every text is padded, and what it is padded with takes part."""
    print("siglip")
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer, limit = vocab.t5(limit=20), 20
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": limit, "projection_size": 12, **SIZES}
    vision = {"image_size": SIDE, "patch_size": 8, **SIZES, "hidden_size": 12}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    save(folder, transformers.SiglipModel(config), tokenizer)
    names = layouts.get(folder / "tokenizer_config.json")
    layouts.put(folder / "tokenizer_config.json", names | {"model_input_names": ["input_ids"]})
    layouts.put(folder / "preprocessor_config.json", images.SIGLIP)
    padded = {"text": {"padding": "max_length"}}
    module = Transformer(str(folder), model_kwargs={"dtype": torch.float32}, processing_kwargs=padded)
    model = SentenceTransformer(modules=[module], device="cpu")
    found = golden.cases(model, texts.TINY)
    assert all(len(fields["ids"]) == limit for fields in found)
    write(folder, model, found)


def save_clip(folder, end, hidden_act="quick_gelu"):
    """Writes a CLIP and its tokenizer."""
    tokenizer = tokens()
    first = len(tokenizer) - 2
    ids = {"bos_token_id": first, "pad_token_id": 1, "eos_token_id": first + 1 if end is None else end}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 77, **ids, **SIZES, "hidden_act": hidden_act}
    vision = {"image_size": SIDE, "patch_size": 8, **SIZES, "hidden_act": hidden_act}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    save(folder, transformers.CLIPModel(config), tokenizer)
    names = layouts.get(folder / "tokenizer_config.json")
    layouts.put(folder / "tokenizer_config.json", names | {"tokenizer_class": "CLIPTokenizer"})


def save(folder, model, tokenizer):
    """Writes a model of random weights in half precision, and its tokenizer."""
    tiny.randomise(model.eval(), zlib.crc32(folder.name.encode()))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def write(folder, model, found):
    """Writes a golden file, with the vectors of some images."""
    rows = [image(model, name) for name in FILES]
    golden.write(folder.parent / f"{folder.name}.json", folder.name, model.max_seq_length, found, {"images": {"all": rows}})


def tokens(size=100, limit=77):
    """CLIP's tokenizer: byte-level BPE of lower-cased words, whose last piece is marked."""
    tokenizer = Tokenizer(models.BPE())
    blanks = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), blanks, normalizers.Lowercase()])
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    split = pre_tokenizers.Split(words, "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learned(tokenizer, letters, size)
    pieces = letters + [f"{letter}</w>" for letter in letters] + ["".join(pair) for pair in merges]
    numbers = {piece: number for number, piece in enumerate(dict.fromkeys([*pieces, START, END]))}
    tokenizer.model = models.BPE(numbers, merges, end_of_word_suffix="</w>", unk_token=END)
    tokenizer.decoder = decoders.ByteLevel()
    ends = [(token, numbers[token]) for token in (END, START)]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False)
    start, end = AddedToken(START, normalized=True, special=True), AddedToken(END, normalized=True, special=True)
    names = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


def learned(tokenizer, letters, size):
    """The merges of the corpus. The trainer's own mark for ends of words breaks ties at random, so they are letters here."""
    ends = {letter: chr(0xE000 + number) for number, letter in enumerate(letters)}
    marks = {end: f"{letter}</w>" for letter, end in ends.items()}
    words = []
    for text in vocab.CORPUS:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            words.append(word[:-1] + ends[word[-1]])
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    alphabet = letters + list(marks)
    options = {"vocab_size": len(alphabet) + size, "initial_alphabet": alphabet}
    learner.train_from_iterator(words, trainers.BpeTrainer(show_progress=False, **options))
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [tuple(part[:-1] + marks.get(part[-1], part[-1]) for part in pair) for pair in merges]


def image(model, name):
    """The vector of one image."""
    picture = images.open_image(name)
    vector = model.encode(picture, show_progress_bar=False)
    exact = model.double().encode(picture, show_progress_bar=False)
    model.float()
    print(f"    {name} from f64 {float(np.abs(vector - exact).max()):.1e}")
    return {"file": name, "embedding": golden.packed(vector)}
