"""Which tokenizers do the tiny models have?

Vocabularies come from the texts of the goldens themselves, small enough that most words need several pieces and some
characters stay unknown. They are counted here because the trainers of WordPiece and Unigram break ties at random.
"""

import json
import math
from collections import Counter

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import texts

CORPUS = [entry for entry in texts.TINY + texts.SENTENCES * 3 + texts.SCRIPTS + texts.MACHINE if isinstance(entry, str)]
CORPUS.append(texts.TINY[-1][0])
LIMIT = 64
LONGEST = 5


def wordpiece(size=300, lowercase=True, limit=LIMIT):
    """BERT's tokenizer."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=None)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    learned = [piece for piece, _ in commonest(tokenizer, size - len(specials), "##", 120)]
    tokens = {piece: number for number, piece in enumerate(specials + learned)}
    tokenizer.model = models.WordPiece(tokens, unk_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, specials)), model_max_length=limit)


def unigram(size=300, limit=LIMIT):
    """XLM-RoBERTa's tokenizer, without the precompiled table of characters, which alone would be 240 kB."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    specials = [(str(token), 0.0) for token in roberta_specials()]
    learned = commonest(tokenizer, size - len(specials), "", 120)
    total = sum(count for _, count in learned)
    scores = [(piece, round(math.log(count / total), 4)) for piece, count in learned]
    tokenizer.model = models.Unigram(specials[:-1] + scores + specials[-1:], unk_id=3)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roberta_names(), model_max_length=limit)


def mpnet(size=300, limit=LIMIT):
    """MPNet's tokenizer: BERT's pieces behind RoBERTa's special tokens, and unknown is still [UNK]."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=None)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]"]
    learned = [piece for piece, _ in commonest(tokenizer, size - len(specials) - 1, "##", 120)]
    tokens = {piece: number for number, piece in enumerate([*specials, *learned, "<mask>"])}
    tokenizer.model = models.WordPiece(tokens, unk_token="[UNK]")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    names = roberta_names() | {"unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


def t5(size=300, limit=160):
    """T5's tokenizer: Unigram with an end and no start."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    learned = commonest(tokenizer, size - len(specials), "", 120)
    total = sum(count for _, count in learned)
    scores = [(piece, round(math.log(count / total), 4)) for piece, count in learned]
    tokenizer.model = models.Unigram([(token, 0.0) for token in specials] + scores, unk_id=2)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


def bytelevel(size=400, limit=LIMIT):
    """RoBERTa's tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": size, "special_tokens": roberta_specials(), "initial_alphabet": alphabet}
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(show_progress=False, **options))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roberta_names(), model_max_length=limit)


def qwen(size=400, limit=LIMIT, corpus=CORPUS):
    """Qwen's tokenizer: its special tokens come behind all others, and an embedder ends every text with one of them."""
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), bytes_of_words])
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    options = {"vocab_size": size - len(specials), "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(show_progress=False, **options))
    tokenizer.add_special_tokens(specials)
    end = specials[0]
    template = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    bytes_seen = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.Sequence([bytes_seen, template])
    names = {"pad_token": end, "eos_token": specials[2], "padding_side": "left"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


def qwen_chat(limit=512):
    """Qwen's tokenizer as a language model has it: nothing is put behind a text, and an answer is one token."""
    outer = qwen(size=420, limit=limit, corpus=[*CORPUS, "yes\nno\n" * 500])
    outer._tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    outer.add_tokens([AddedToken(token, normalized=False) for token in ("<think>", "</think>")])
    return outer


def deberta(size=300, limit=LIMIT):
    """DeBERTa-v3's tokenizer: Unigram between BERT's special tokens, and unknown comes fourth."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    learned = commonest(tokenizer, size - len(specials) - 1, "", 120)
    total = sum(count for _, count in learned)
    scores = [(piece, round(math.log(count / total), 4)) for piece, count in learned]
    tokenizer.model = models.Unigram([(token, 0.0) for token in specials] + scores + [("[MASK]", 0.0)], unk_id=3)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


def modern(size=380, limit=LIMIT):
    """ModernBERT's tokenizer: byte-level BPE between BERT's special tokens, which come behind all others."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True, special=True)]
    learn_bytes(tokenizer, size, specials)
    ends = [(token, tokenizer.token_to_id(token)) for token in ["[CLS]", "[SEP]"]]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    names = dict(zip(["unk_token", "cls_token", "sep_token", "pad_token", "mask_token"], specials))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


def llama(size=380, limit=LIMIT, end=""):
    """Llama 3's tokenizer, which puts a token before every text; EuroBERT's puts one behind it too."""
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), bytes_of_words])
    start, last = specials = ["<|begin_of_text|>", "<|end_of_text|>"]
    learn_bytes(tokenizer, size, specials)
    ends = [(token, tokenizer.token_to_id(token)) for token in (start, end) if token]
    one, two = ([start, "$A", end], [f"{start}:1", "$B:1", end and f"{end}:1"])
    template = processors.TemplateProcessing(
        single=[part for part in one if part], pair=[part for part in one + two if part], special_tokens=ends
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    names = {"bos_token": start, "eos_token": last, "pad_token": last}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


def mistral(size=550, limit=LIMIT):
    """Mistral's tokenizer: BPE of whole texts with a blank before them, and bytes for characters it does not know."""
    tokenizer = Tokenizer(sentence_pieces(["<unk>", "<s>", "</s>"], size, "always"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> <s>:1 $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, padding_side="left", model_max_length=limit)


def gemma(size=550, limit=LIMIT):
    """Gemma's tokenizer: like Mistral's, but no blank is put before a text, and a word ends with the blank behind it."""
    tokenizer = Tokenizer(sentence_pieces(["<pad>", "<eos>", "<bos>", "<unk>"], size, "never"))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> <bos>:1 $B:1 <eos>:1", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    names = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


def learn_bytes(tokenizer, size, specials):
    """Trains a byte-level BPE and puts the special tokens behind what it learned."""
    options = {"vocab_size": size - len(specials), "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(show_progress=False, **options))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)


def sentence_pieces(specials, size, blank):
    """SentencePiece's BPE as transformers converts it: special tokens, 256 bytes, then pieces of the commonest characters."""
    counts = Counter("".join(CORPUS))
    known = {" ", *sorted(counts, key=lambda letter: (-counts[letter], letter))[:100]}
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=blank)
    lines = ["".join(letter for letter in text if letter in known) for text in CORPUS]
    first = specials + [f"<0x{byte:02X}>" for byte in range(256)]
    learner.train_from_iterator(lines, trainers.BpeTrainer(show_progress=False, vocab_size=size - len(first)))
    learned = json.loads(learner.to_str())["model"]
    tokens = first + sorted(learned["vocab"], key=learned["vocab"].get)
    merges = [tuple(pair) for pair in learned["merges"]]
    numbers = {token: number for number, token in enumerate(tokens)}
    return models.BPE(numbers, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def commonest(tokenizer, size, inside, letters):
    """The pieces of the corpus that cover most of it, with their counts; `inside` marks one that does not start a word."""
    found = Counter()
    for text in CORPUS:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            for start in range(len(word)):
                for end in range(start + 1, min(start + LONGEST, len(word)) + 1):
                    found[inside * (start > 0) + word[start:end]] += 1
    single = [item for item in found.items() if len(item[0].removeprefix(inside)) == 1]
    longer = [item for item in found.items() if len(item[0].removeprefix(inside)) > 1]
    single = sorted(single, key=lambda item: (-item[1], item[0]))[:letters]
    longer = sorted(longer, key=lambda item: (-item[1] * len(item[0].removeprefix(inside)), item[0]))
    return single + longer[: size - len(single)]


def roberta_specials():
    """RoBERTa's special tokens in the order of their ids; the mask swallows the blank before it."""
    return ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)]


def roberta_names():
    """Which special token plays which part."""
    start, pad, end, unknown, mask = roberta_specials()
    names = {"bos_token": start, "cls_token": start, "eos_token": end, "sep_token": end}
    return names | {"pad_token": pad, "unk_token": unknown, "mask_token": mask}
