"""What does CLIP give for texts and for images? One model folder in the layout of clip-ViT-B-32, and two images."""

import json
import shutil
import zlib

import numpy as np
import transformers
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import golden
import layouts
import texts
import tiny
import vocab

SIDE = 32
IMAGES = {"wide.png": (67, 40, "RGB"), "tall.png": (20, 45, "L")}
START, END = "<|startoftext|>", "<|endoftext|>"


def make(folder):
    """Makes the model, its images and its golden file anew."""
    print("clip")
    folder = folder / "clip"
    inner = folder / "0_CLIPModel"
    shutil.rmtree(folder, ignore_errors=True)
    save(inner)
    module = {"idx": 0, "name": "0", "path": inner.name, "type": "sentence_transformers.models.CLIPModel"}
    layouts.put(folder / "modules.json", [module])
    versions = {"sentence_transformers": "2.0.0", "transformers": "4.7.0", "pytorch": "1.9.0"}
    layouts.put(folder / "config_sentence_transformers.json", {"__version__": versions})
    model = golden.load(folder)
    found = golden.cases(model, texts.TINY)
    golden.check_tokenizer(inner, found, model.max_seq_length)
    images = [image(model, folder, name) for name in IMAGES]
    golden.write(folder.parent / "clip.json", "clip", model.max_seq_length, found, {"images": {"all": images}})


def save(folder):
    """Writes the model, and how its images are made ready as transformers 4 says it."""
    tokenizer = tokens()
    ids = {"bos_token_id": len(tokenizer) - 2, "pad_token_id": 1, "eos_token_id": 2}
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 77, **ids, **sizes}
    vision = {"image_size": SIDE, "patch_size": 8, **sizes}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    model = transformers.CLIPModel(config).eval()
    tiny.randomise(model, zlib.crc32(b"clip"))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    names = layouts.get(folder / "tokenizer_config.json")
    layouts.put(folder / "tokenizer_config.json", names | {"tokenizer_class": "CLIPTokenizer"})
    ready = {"crop_size": SIDE, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": SIDE}
    ready |= {"feature_extractor_type": "CLIPFeatureExtractor", "image_processor_type": "CLIPImageProcessorPil"}
    ready |= {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    layouts.put(folder / "preprocessor_config.json", ready)


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


def image(model, folder, name):
    """The golden of one image: what the tower saw of it, and its vector."""
    width, height, mode = IMAGES[name]
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    planes = [(3 * across + 5 * down) % 256, (across * down // 4) % 256, (255 - 6 * across + down) % 256]
    values = np.stack(planes, -1).astype("u1")
    picture = Image.fromarray(values if mode == "RGB" else values[..., 1], mode=mode)
    picture.save(folder / name)
    picture = Image.open(folder / name)
    vector = model.encode(picture, show_progress_bar=False)
    pixels = model.preprocess([picture])["pixel_values"]
    exact = model.double().encode(picture, show_progress_bar=False)
    model.float()
    away = float(np.abs(vector - exact).max())
    print(f"    {name} {tuple(pixels.shape)}, from f64 {away:.1e}")
    return {"file": name, "pixels": golden.packed(pixels[0].numpy()), "embedding": golden.packed(vector)}
