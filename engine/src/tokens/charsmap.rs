//! Is the table by which sentencepiece normalises characters whole? Its reader believes every index in it.
//!
//! The table is the size of a trie, the trie as a double array (Aoe, 1989), and texts that end with a zero byte. From
//! each place in the trie a byte leads to another by exclusive or; the value of a leaf is where its text begins.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokenizers::{NormalizerWrapper, normalizers::Precompiled};

/// Elements of the trie; the usual one has sixty thousand.
const MOST_UNITS: usize = 1 << 22;
const DAMAGED: &str = "the table of characters is damaged";

/// Reads a table of which every index leads to something.
pub(super) fn read(bytes: &[u8]) -> Result<Precompiled, String> {
    check(bytes).ok_or(DAMAGED)?;
    Precompiled::from(bytes).map_err(|e| e.to_string())
}

/// Checks the tables of a normalizer that the library has read from `tokenizer.json`.
pub(super) fn check_all(normalizer: &NormalizerWrapper) -> Result<(), String> {
    match normalizer {
        NormalizerWrapper::Sequence(steps) => steps.as_ref().iter().try_for_each(check_all),
        NormalizerWrapper::Precompiled(table) => {
            // The library gives its bytes only in the form in which they are written.
            let written = serde_json::to_value(table).map_err(|e| e.to_string())?;
            let text = written["precompiled_charsmap"].as_str().unwrap_or_default();
            let bytes = STANDARD.decode(text).map_err(|e| e.to_string())?;
            check(&bytes).ok_or_else(|| DAMAGED.to_owned())
        }
        _ => Ok(()),
    }
}

fn check(bytes: &[u8]) -> Option<()> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let size = u32::from_le_bytes(*size) as usize;
    let (trie, texts) = rest.split_at_checked(size)?;
    let (units, odd) = trie.as_chunks::<4>();
    let texts = std::str::from_utf8(texts).ok()?;
    // Any byte leads from a place to one in the same block of 256.
    if !odd.is_empty() || units.len() > MOST_UNITS || !units.len().is_multiple_of(256) {
        return None;
    }
    let units: Vec<u32> = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    let mut seen = vec![false; units.len()];
    let mut waiting = vec![offset(*units.first()?)];
    while let Some(place) = waiting.pop() {
        if std::mem::replace(seen.get_mut(place)?, true) {
            continue;
        }
        for byte in 1..=255 {
            let unit = units[place ^ byte];
            if unit & (1 << 31 | 0xff) != byte as u32 {
                continue;
            }
            let next = place ^ byte ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = *units.get(next)? & !(1 << 31);
                texts.get(start as usize..)?;
            }
            waiting.push(next);
        }
    }
    Some(())
}

/// Returns how far the children of a unit lie.
fn offset(unit: u32) -> usize {
    ((unit as usize) >> 10) << ((unit & 1 << 9) >> 6)
}

#[cfg(test)]
mod tests {
    use tokenizers::normalizers::Sequence;

    use super::*;

    /// A table of one rule: the byte `a` becomes `text`.
    fn table(value: u32, children: u32, text: &str) -> Vec<u8> {
        let mut units = vec![0u32; 256];
        units[usize::from(b'a')] = u32::from(b'a') | 1 << 8 | children << 10;
        if let Some(unit) = units.get_mut(usize::from(b'a') ^ children as usize) {
            *unit = value | 1 << 31;
        }
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, text.as_bytes()].concat()
    }

    #[test]
    fn what_is_whole_is_read_and_what_is_not_is_refused() {
        let normal = read(&table(0, 1, "bc\0")).unwrap();
        assert_eq!(normal.normalize_string("xax"), "xbcx");
        for damaged in [
            table(4, 1, "bc\0"),
            table(1, 1, "é\0"),
            table(0, 1 << 20, "b\0"),
            vec![],
            vec![0; 3],
            vec![0; 4],
            [255; 64].to_vec(),
            table(0, 1, "bc\0")[..900].to_vec(),
        ] {
            assert!(read(&damaged).is_err());
            if let Ok(table) = Precompiled::from(&damaged) {
                let steps = [table.into()].to_vec();
                assert!(check_all(&Sequence::new(steps).into()).is_err());
            }
        }
        let whole = Precompiled::from(&table(0, 1, "bc\0")).unwrap();
        assert_eq!(check_all(&whole.into()), Ok(()));
    }
}
