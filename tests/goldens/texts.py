"""Which texts do the goldens cover?

Every entry is a text, or a pair (unit, n) that stands for the unit repeated n times, so that long texts stay short on disk.
Invisible characters are written as escapes.
"""

SENTENCES = [
    "why is the sky blue?",
    "why is the grass green?",
    "The quick brown fox jumps over the lazy dog.",
    "the quick brown fox jumps over the lazy dog",
    "A man is eating a piece of bread.",
    "Interest rates were left unchanged, the central bank said on Thursday.",
    "She didn't think it'd work - but it did!",
    "Wo finde ich den nächsten Bäcker? Die Straße ist gesperrt.",
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "L'été dernier, nous avons mangé des crêpes près de l'église.",
    "¿Dónde está la biblioteca? El niño comió piñas.",
    "Все счастливые семьи похожи друг на друга.",
    "Zażółć gęślą jaźń",
    "Η γρήγορη καφέ αλεπού ΠΗΔΆΕΙ",
    "İstanbul'da ılık bir gün",
    "Trời hôm nay xanh quá",
]

SCRIPTS = [
    "你好，世界。这是一个测试句子。",
    "日本語の文章とEnglishが混ざっている。",
    "今日はいい天気ですね",
    "ｶﾀｶﾅ ＡＢＣ １２３",
    "안녕하세요 세계",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",  # Korean as separate jamo
    "مرحبا بالعالم، كيف حالك اليوم؟",
    "اَلْعَرَبِيَّةُ",  # with vowel marks
    "שלום עולם, מה שלומך?",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "สวัสดีชาวโลก วันนี้อากาศดี",
    "வணக்கம் உலகம்",
    "გამარჯობა მსოფლიო",
    "\U00020000\U0002a6d6 beyond the first plane",
]

MARKS = [
    "caf\u00e9 na\u00efve Z\u00fcrich",
    "cafe\u0301 nai\u0308ve Zu\u0308rich",  # the same, decomposed
    "\u00c5ngstr\u00f6m \u212bngstrom",
    "\u1e69 s\u0323\u0307 s\u0307\u0323",
    "\u0301\u0301\u0301",  # marks with nothing to stand on
    "Z\u0351\u036b\u0343a\u0329\u0348l\u032f\u033cg\u0339o\u0322",
    "\ufb01ne \ufb02uid \u2167 \u00bd \u00b2",  # ligatures, Roman numeral, fraction, superscript
    "stra\u00dfe STRASSE \u1e9e",
]

EMOJI = [
    "😀",
    "I love pizza 🍕 and beer 🍺!",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
    "\U0001f1e9\U0001f1ea \U0001f1eb\U0001f1f7 flags",
    "\U0001f44d\U0001f3fd\U0001f44d\U0001f3ff \u2764\ufe0f\u200d\U0001f525",
    "\u2603 \u2192 \u221e \u2211 \u20ac \u00a9 \u2122",
]

BLANKS = [
    "",
    " ",
    "     ",
    "\n",
    "\t",
    "\r\n\r\n",
    "\u00a0",
    "\u3000",
    "  leading, trailing and   double  spaces  ",
    "first line\nsecond line\n\nfourth line",
    "windows\r\nline\r\nends",
    "tab\tseparated\tvalues",
]

SPECIAL = [
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[PAD]",
    "[UNK]",
    "[CLS] hello [SEP] world [SEP]",
    "[cls] hello [sep]",
    "[PAD] [PAD] hello [PAD]",
    "the capital of France is[MASK].",
    "<s> </s> <pad> <mask> <|endoftext|>",
    "##ing ## #",
]

INVISIBLE = [
    "\u0000",
    "nul\u0000in the middle",
    "\u0001\u0007bell\u0008\u001b[31mred\u001b[0m\u007f",
    "\u0085next\u2028line\u2029separators",
    "zero\u200bwidth\u200cjoin\u200ders\ufeff",
    "\u202eright to left\u202c \u200fmark\u200e \u2067isolate\u2069",
    "bad \ufffd\ufffd bytes",
    "soft\u00adhy\u00adphen",
    "\ue000 private \uf8ff use \U0010ffff",
]

MACHINE = [
    "https://example.org/a/b?q=1&r=%20x#frag",
    "someone@example.org, +49 (0)30 1234-567",
    "fn main() { let x: Vec<u8> = vec![0; 16]; println!(\"{x:?}\"); }",
    "{\"name\": \"a\", \"list\": [1, 2.5e-3, null], \"ok\": true}",
    "3.14159 1,000,000 1e-9 0xFF 12:34:56 2024-02-29 -273.15\u00b0C",
    "12345678901234567890",
    "C:\\Users\\name\\file.txt ../../etc/passwd",
    "!!! ??? ... --- *** $$$ ///",
    "“quoted” ‘text’ – dash — long … dots",
    "don't_split_snake_case or camelCaseWords",
]

# [CLS] and [SEP] count: "the " 254 times is the longest that all-MiniLM-L6-v2 reads whole.
LENGTHS = [
    "a",
    "?",
    "字",
    ("x", 100),  # the longest word that WordPiece looks at
    ("x", 101),  # one more: unknown
    ("abc", 100),
    ("the ", 253),
    ("the ", 254),
    ("the ", 255),
    ("the weather is nice today ", 120),
    ("unbelievably tokenization ", 60),
    ("漢字", 200),
]

REAL = SENTENCES + SCRIPTS + MARKS + EMOJI + BLANKS + SPECIAL + INVISIBLE + MACHINE + LENGTHS

TINY = [
    "why is the sky blue?",
    "The licensor grants you a patent license",
    "你好，世界 café Naïve — “quotes” 123,456.78",
    "Привет, мир!",
    "",
    "a",
    "  leading and   double  spaces\nnewline",
    "emoji 😀 and unknown ☃",
    "[CLS] <s> special [MASK]<mask> </s>",
    ("The licensor grants you a patent license, ", 12),
]


def full(entry):
    """The text that an entry stands for."""
    return entry if isinstance(entry, str) else entry[0] * entry[1]


def fields(entry):
    """An entry as a golden file says it."""
    return {"text": entry} if isinstance(entry, str) else {"text": entry[0], "repeat": entry[1]}
