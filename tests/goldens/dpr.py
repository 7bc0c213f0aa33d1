"""What do the two encoders of DPR give? The last hidden state of the first token, or its projection, neither normalised."""

import shutil
import zlib

import torch
import transformers

import golden
import layouts
import texts
import tiny
import vocab

SIZES = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 36}
KINDS = {
    "dpr-question": (transformers.DPRQuestionEncoder, 0),
    "dpr-context": (transformers.DPRContextEncoder, 12),
}


class Encoder:
    """What `golden.cases` asks of a model, for one that sentence-transformers does not open."""

    default_prompt_name, prompts, max_seq_length = None, {}, 64

    def __init__(self, folder, kind):
        self.model = kind.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def preprocess(self, batch):
        """The tensors of some texts."""
        return self.tokenizer(batch, padding=True, truncation=True, max_length=self.max_seq_length, return_tensors="pt")

    def encode(self, batch, batch_size=8, **_):
        """The vectors of some texts, or of one."""
        if isinstance(batch, str):
            return self.encode([batch])[0]
        with torch.no_grad():
            parts = [self.model(**self.preprocess(batch[at : at + batch_size])) for at in range(0, len(batch), batch_size)]
        return torch.cat([part.pooler_output for part in parts]).numpy()

    def double(self):
        """The same in f64."""
        self.model.double()
        return self

    def float(self):
        """The same in f32."""
        self.model.float()


def make(folder):
    """Makes every encoder and its golden file anew."""
    for name, (kind, projection) in KINDS.items():
        print(name)
        save(folder / name, kind, projection)
        model = Encoder(folder / name, kind)
        found = golden.cases(model, texts.TINY)
        golden.check_tokenizer(folder / name, found, model.max_seq_length)
        golden.write(folder / f"{name}.json", name, model.max_seq_length, found)


def save(folder, kind, projection):
    """Writes a folder as Facebook's have it: transformers 4's config, and no word of a limit but the position table."""
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = vocab.wordpiece(200, limit=512)
    config = transformers.DPRConfig(vocab_size=len(tokenizer), max_position_embeddings=64, projection_dim=projection, **SIZES)
    encoder = kind(config).eval()
    tiny.randomise(encoder, zlib.crc32(folder.name.encode()))
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    layouts.old_config(folder)
