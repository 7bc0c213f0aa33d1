//! Where is a text divided that is longer than the model reads at once, and what becomes of its parts?

use std::{collections::BTreeMap, ops::Range};

use modelfiles::recipe::Pooling;

use super::Embedder;
use crate::{
    Error, Output, Vectors,
    heads::normalize,
    tokens::{Overflow, Prompt, Tokens},
};

/// Parts of a text: whoever wants more sends it in pieces.
const MOST_PARTS: usize = 1 << 14;

impl Embedder {
    /// Divides a text at the ends of sentences into parts, given in bytes, of at most `limit` tokens, what stands
    /// around a text included. Sentences that are longer are divided between words. A text of blanks only is one
    /// part.
    pub fn split(
        &self,
        text: &str,
        prompt: Prompt<'_>,
        limit: usize,
    ) -> Result<Vec<Range<usize>>, Error> {
        let around = self.tokeniser.around(prompt)?;
        let room = limit.checked_sub(around).filter(|room| *room > 0).ok_or(Error::NoRoom)?;
        divide(text, room, |part| self.tokeniser.count(part, room))
    }

    /// Says whether parts of a text that is read at once can have vectors of their own.
    pub fn knows_parts(&self) -> bool {
        self.description.outputs.dense && self.description.pooling == [Pooling::Mean]
    }

    /// Tokenises a text whose parts are to have vectors of their own, computed from what the model makes of their
    /// tokens when it reads the whole (late chunking: Günther et al., 2024). What stands before the text belongs to
    /// the first part, what stands behind it to the last; so the only part of a text has the vector of the text.
    pub fn tokenize_parts(
        &self,
        text: &str,
        prompt: Prompt<'_>,
        limit: usize,
        parts: &[Range<usize>],
    ) -> Result<Tokens, Error> {
        let mut tokens = self.tokenize(text, prompt, limit, Overflow::Truncate)?;
        let starts = self.tokeniser.starts(text, prompt, &tokens)?;
        let end = tokens.ids.len();
        let first_of = |part: &Range<usize>| starts.partition_point(|start| *start < part.start);
        let firsts = parts.iter().skip(1).map(|part| first_of(part).min(end));
        let bounds: Vec<usize> = std::iter::once(0).chain(firsts).chain([end]).collect();
        tokens.spans = bounds.windows(2).map(|pair| pair[0]..pair[1]).collect();
        Ok(tokens)
    }

    /// Makes one of what the parts of a text gave when asked for this output, each with its number of tokens: the
    /// mean of vectors weighted by these, the greatest weight of each token, and the vectors of all tokens behind one
    /// another.
    pub fn combine(&self, mut parts: Vec<(usize, Vectors)>, output: Output) -> Vectors {
        if parts.len() == 1 {
            return parts.remove(0).1;
        }
        let mut whole = Vectors::default();
        let mut sparse: BTreeMap<u32, f32> = BTreeMap::new();
        let all: usize = parts.iter().map(|(tokens, _)| tokens).sum();
        for (tokens, part) in parts {
            let share = tokens as f32 / all.max(1) as f32;
            whole.dense.resize(part.dense.len(), 0.0);
            whole.dense.iter_mut().zip(&part.dense).for_each(|(sum, x)| *sum += share * x);
            for (id, weight) in part.sparse {
                let most = sparse.entry(id).or_insert(weight);
                *most = most.max(weight);
            }
            whole.multivector.extend(part.multivector);
        }
        if output.normalize || self.texts.heads.normalizes() {
            normalize(&mut whole.dense);
        }
        whole.sparse = sparse.into_iter().collect();
        whole
    }
}

/// Divides a text into parts of at most `room` tokens.
fn divide(
    text: &str,
    room: usize,
    count: impl Fn(&str) -> Result<usize, Error>,
) -> Result<Vec<Range<usize>>, Error> {
    let mut parts: Vec<(Range<usize>, usize)> = Vec::new();
    for sentence in sentences(text) {
        for (range, tokens) in fitting(text, sentence, room, &count)? {
            match parts.last_mut() {
                Some((last, sum)) if *sum + tokens <= room => {
                    (last.end, *sum) = (range.end, *sum + tokens);
                }
                _ => parts.push((range, tokens)),
            }
            if parts.len() > MOST_PARTS {
                return Err(Error::TooManyParts(MOST_PARTS));
            }
        }
    }
    let mut parts: Vec<Range<usize>> =
        parts.into_iter().map(|(range, _)| trimmed(text, range)).collect();
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() {
        parts.push(0..text.len());
    }
    Ok(parts)
}

/// Where a reader of characters stands in a sentence.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Inside,
    /// Behind a mark that may end it, and quotes that it closes.
    Ended,
    /// Behind a mark that does, in scripts without blanks.
    EndedWide,
    /// In blanks behind such a mark.
    Blank,
    /// Behind the end of a line.
    Line,
}

/// Returns the sentences of a text with the blanks behind them: what ends with a full stop or another such mark and is
/// followed by a blank but no small letter, and every line. In one pass, whatever the text: the rules of Unicode look
/// ahead as far as blanks go.
fn sentences(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut characters = text.char_indices().peekable();
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut place = Place::Inside;
        while let Some((at, character)) = characters.next() {
            place = match (character, place) {
                ('\n' | '\u{2029}', _) => Place::Line,
                ('。' | '！' | '？' | '｡', _) => Place::EndedWide,
                ('.' | '!' | '?' | '…', _) => Place::Ended,
                (mark, Place::Ended | Place::EndedWide) if is_closing(mark) => place,
                (blank, Place::Ended | Place::EndedWide | Place::Blank)
                    if blank.is_whitespace() =>
                {
                    Place::Blank
                }
                (blank, Place::Line) if blank.is_whitespace() => Place::Line,
                _ => Place::Inside,
            };
            let next = characters.peek().map(|(_, next)| *next);
            let ends = next.is_none_or(|next| match place {
                Place::Inside | Place::Ended => false,
                Place::EndedWide => {
                    !is_closing(next) && !next.is_whitespace() && !"。！？｡.!?…".contains(next)
                }
                Place::Blank => !next.is_whitespace() && !next.is_lowercase(),
                Place::Line => !next.is_whitespace(),
            });
            if ends {
                let sentence = start..at + character.len_utf8();
                start = sentence.end;
                return Some(sentence);
            }
        }
        None
    })
}

fn is_closing(mark: char) -> bool {
    "\"')]}”’»」』）】".contains(mark)
}

/// Halves what has too many tokens until nothing has.
fn fitting(
    text: &str,
    range: Range<usize>,
    room: usize,
    count: &impl Fn(&str) -> Result<usize, Error>,
) -> Result<Vec<(Range<usize>, usize)>, Error> {
    let (mut waiting, mut found) = (vec![range], Vec::new());
    while let Some(range) = waiting.pop() {
        let part = &text[range.clone()];
        let tokens = count(part)?;
        match middle(part) {
            Some(middle) if tokens > room => {
                waiting.push(range.start + middle..range.end);
                waiting.push(range.start..range.start + middle);
            }
            _ => found.push((range, tokens.min(room))),
        }
    }
    Ok(found)
}

/// Returns where to halve a text: before the word that stands nearest behind the middle, else in the middle; none for
/// a single character.
fn middle(text: &str) -> Option<usize> {
    let half = text.ceil_char_boundary(text.len().div_ceil(2));
    let between = |at: &usize| (1..text.len()).contains(at);
    let blank = text[half..].find(char::is_whitespace).map(|at| half + at).filter(between);
    let before = || text[..half].rfind(char::is_whitespace).filter(between);
    blank.or_else(before).or_else(|| Some(half).filter(between)).or_else(|| {
        let first = text.chars().next()?.len_utf8();
        Some(first).filter(between)
    })
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + part.len() - part.trim_start().len();
    start..(range.start + part.trim_end().len()).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_divided_at_sentences_then_words_then_characters() {
        let words = |part: &str| Ok(part.split_whitespace().count());
        let letters = |part: &str| Ok(part.chars().count());
        let parts = |text: &str, room, count: fn(&str) -> Result<usize, Error>| {
            let parts = divide(text, room, count).unwrap();
            parts.into_iter().map(|part| text[part].to_owned()).collect::<Vec<_>>()
        };
        let text = "One two. Three four five! Six?\n\nSeven eight.";
        assert_eq!(parts(text, 5, words), ["One two. Three four five!", "Six?\n\nSeven eight."]);
        assert_eq!(parts(text, 100, words), [text]);
        assert_eq!(parts("a b c d e f", 2, words), ["a b", "c d", "e f"]);
        assert_eq!(
            parts("数据库很好。天空是蓝色的。", 7, letters),
            ["数据库很好。", "天空是蓝色的。"]
        );
        let quoted = "He said “no.” Then 3.5 e.g. more (yes!) Z\nnew";
        assert_eq!(
            parts(quoted, 3, words),
            ["He said “no.”", "Then 3.5 e.g.", "more (yes!) Z", "new"]
        );
        assert_eq!(parts("Straßenbahn", 4, letters).concat(), "Straßenbahn");
        assert_eq!(parts("  ", 4, words), ["  "]);
        assert_eq!(parts("", 4, words), [""]);
    }

    #[test]
    fn blanks_cost_what_letters_cost() {
        let text = format!("a. {}1", " ".repeat(4 << 20));
        let sentences: Vec<_> = sentences(&text).collect();
        assert_eq!(sentences, [0..text.len() - 1, text.len() - 1..text.len()]);
        let many = "a. B. ".repeat(MOST_PARTS);
        let count = |part: &str| Ok(part.split_whitespace().count());
        assert!(matches!(divide(&many, 1, count), Err(Error::TooManyParts(MOST_PARTS))));
    }

    #[test]
    fn every_part_fits_and_nothing_is_lost() {
        let mut dice = 7u64;
        for _ in 0..500 {
            let mut text = String::new();
            for _ in 0..40 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += ["a", "bc ", "def. ", "ü", "。", "\n\n", "😀 ", "?! "]
                    [(dice >> 60) as usize % 8];
            }
            let room = 1 + (dice >> 40) as usize % 9;
            let count =
                |part: &str| Ok(part.split_whitespace().collect::<String>().chars().count());
            let parts = divide(&text, room, count).unwrap();
            assert!(
                parts.iter().all(|part| count(&text[part.clone()]).unwrap() <= room),
                "{text:?}"
            );
            assert!(parts.is_sorted_by(|a, b| a.end <= b.start));
            let kept: String = parts.into_iter().map(|part| text[part].to_owned()).collect();
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(solid(&kept), solid(&text));
        }
    }
}
