//! Which texts do the benchmarks embed? Pieces of this repository's own documents, in three mixtures of lengths.

/// The documents, in the order in which their words are counted.
const DOCUMENTS: [&str; 5] = [
    include_str!("../LICENSE"),
    include_str!("../README.md"),
    include_str!("../docs/architecture.md"),
    include_str!("../docs/operations.md"),
    include_str!("../docs/models.md"),
];

/// How far apart two texts begin, in words.
const STEP_WORDS: usize = 97;

/// Returns the words of the documents: what consists of ASCII letters and a few marks only.
pub(crate) fn words() -> Vec<&'static str> {
    let is_mark = |c: char| matches!(c, ',' | '.' | '\'' | '-');
    let is_word = |word: &&str| {
        word.chars().all(|c| c.is_ascii_alphabetic() || is_mark(c))
            && word.chars().any(|c| c.is_ascii_alphabetic())
    };
    DOCUMENTS.iter().flat_map(|text| text.split_whitespace()).filter(is_word).collect()
}

/// Returns the texts of the corpus `short`, `mixed` or `long`.
pub(crate) fn corpus(name: &str) -> Vec<String> {
    let (lengths, count): (&[usize], usize) = match name {
        "short" => (&[4, 8, 11, 13, 15, 18, 22], 256),
        "mixed" => (&[14, 25, 40, 52, 66, 80, 100, 125, 170, 20], 300),
        "long" => (&[420], 32),
        _ => panic!("there is no corpus '{name}'"),
    };
    let words = words();
    let text = |i: usize| {
        let length = lengths[i % lengths.len()];
        let start = i * STEP_WORDS % (words.len() - length);
        words[start..start + length].join(" ")
    };
    (0..count).map(text).collect()
}
