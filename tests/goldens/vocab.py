"""Which tokenizers do the tiny models have?

Vocabularies come from the texts of the goldens themselves, small enough that most words need several pieces and some
characters stay unknown. They are counted here because the trainers of WordPiece and Unigram break ties at random.
"""

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


def qwen(size=400, limit=LIMIT):
    """Qwen's tokenizer: its special tokens come behind all others, and an embedder ends every text with one of them."""
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), bytes_of_words])
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    options = {"vocab_size": size - len(specials), "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(show_progress=False, **options))
    tokenizer.add_special_tokens(specials)
    end = specials[0]
    template = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    bytes_seen = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.Sequence([bytes_seen, template])
    names = {"pad_token": end, "eos_token": specials[2], "padding_side": "left"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=limit)


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
