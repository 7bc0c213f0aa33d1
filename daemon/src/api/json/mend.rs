//! How does a body that is not quite text become text?
//!
//! Go puts U+FFFD where bytes are no UTF-8 and where an escape is half of a surrogate pair;
//! `serde_json` refuses both, so they are mended before it sees them.

use std::borrow::Cow;

/// The length of an escape such as `\ud83d`.
const ESCAPE: usize = 6;

/// Returns the body as text that any JSON reader takes, unchanged where it can be.
pub(super) fn readable(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) => pairs(text).map_or(Cow::Borrowed(text), Cow::Owned),
        Err(_) => {
            let text = utf8(body);
            Cow::Owned(pairs(&text).unwrap_or(text))
        }
    }
}

/// Replaces each byte that is no UTF-8, as Go does byte by byte.
fn utf8(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Replaces escapes that are half of a surrogate pair; `None` when there are no surrogates.
fn pairs(text: &str) -> Option<String> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return None;
    }
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let (taken, written) = one(escape);
        mended.push_str(written);
        rest = &escape[taken..];
    }
    mended.push_str(rest);
    Some(mended)
}

/// Returns how much one escape takes, and what shall stand for it.
fn one(escape: &str) -> (usize, &str) {
    let second = || escape.get(ESCAPE..).and_then(unit);
    match unit(escape) {
        Some(0xD800..=0xDBFF) if matches!(second(), Some(0xDC00..=0xDFFF)) => {
            (2 * ESCAPE, &escape[..2 * ESCAPE])
        }
        Some(0xD800..=0xDFFF) => (ESCAPE, "\\ufffd"),
        Some(_) => (ESCAPE, &escape[..ESCAPE]),
        None => {
            let taken = escape.chars().take(2).map(char::len_utf8).sum();
            (taken, &escape[..taken])
        }
    }
}

/// Returns the UTF-16 unit of an escape at the start of the text.
fn unit(escape: &str) -> Option<u32> {
    let digits = escape.get(..ESCAPE)?.strip_prefix("\\u")?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn halves_of_pairs_and_broken_bytes_are_replaced() {
        let table: [(&[u8], &str); 8] = [
            (b"plain \\u0041", "plain \\u0041"),
            (b"\\ud83d\\ude00", "\\ud83d\\ude00"),
            (b"a\\ud83dz", "a\\ufffdz"),
            (b"\\uDE00\\ud83d", "\\ufffd\\ufffd"),
            (b"\\ud83d\\u0041", "\\ufffd\\u0041"),
            (b"\\\\ud83d", "\\\\ud83d"),
            (b"\xff\xe2\x82!", "\u{fffd}\u{fffd}\u{fffd}!"),
            (b"\\ud8", "\\ud8"),
        ];
        for (body, text) in table {
            assert_eq!(readable(body), text, "{body:?}");
        }
    }
}
