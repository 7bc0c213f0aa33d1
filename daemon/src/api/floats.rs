//! How vectors are written: the shortest decimals that give the same bits again, as Go prints them, or base64.

use std::fmt::{Display, LowerExp, Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::ser::{CompactFormatter, Formatter as _};

/// More than the longest number has.
const LONGEST_BYTES: usize = 40;

/// Appends `[x,y,…]` in f32.
pub(crate) fn array(out: &mut String, vector: &[f32]) {
    list(out, vector.iter().copied(), f64::from, |text, x| CompactFormatter.write_f32(text, x));
}

/// Appends `[x,y,…]` with each value widened to f64, as the old endpoint of Ollama does.
pub(crate) fn wide_array(out: &mut String, vector: &[f32]) {
    let write = |text: &mut &mut [u8], x| CompactFormatter.write_f64(text, x);
    list(out, vector.iter().map(|x| f64::from(*x)), |x| x, write);
}

/// Appends the little-endian f32 as base64, in quotes.
pub(crate) fn base64(out: &mut String, vector: &[f32]) {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

fn list<T: Copy + Display + LowerExp>(
    out: &mut String,
    values: impl Iterator<Item = T>,
    wide: impl Fn(T) -> f64,
    write: impl Fn(&mut &mut [u8], T) -> std::io::Result<()>,
) {
    out.push('[');
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.push(',');
        }
        let magnitude = wide(value).abs();
        // Where both mean the same, the writer of serde_json is faster than that of the standard library.
        if (1e-4..1e7).contains(&magnitude) {
            common(out, |text| write(text, value));
        } else {
            rare(out, value, magnitude);
        }
    }
    out.push(']');
}

/// Appends a number as serde_json writes it, which ends whole ones with `.0` and Go does not.
fn common(out: &mut String, write: impl Fn(&mut &mut [u8]) -> std::io::Result<()>) {
    let mut text = [0; LONGEST_BYTES];
    let mut rest = &mut text[..];
    let written = write(&mut rest);
    debug_assert!(written.is_ok(), "a number is shorter than that");
    let used = LONGEST_BYTES - rest.len();
    let text = text.get(..used).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("0");
    out.push_str(text.strip_suffix(".0").unwrap_or(text));
}

/// Appends a number in Go's form, which changes to the exponent at two magnitudes.
fn rare<T: Display + LowerExp>(out: &mut String, value: T, magnitude: f64) {
    let written = if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
    debug_assert!(written.is_ok(), "a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_does() {
        let mut text = String::new();
        array(&mut text, &[0.010071031, -0.0017594865, 1e-7, 0.00001, 1.0, -0.0, 1e21, 0.1]);
        assert_eq!(text, "[0.010071031,-0.0017594865,1e-7,0.00001,1,-0,1e21,0.1]");
        text.clear();
        wide_array(&mut text, &[0.066_429_47, 1e-7]);
        assert_eq!(text, "[0.06642947345972061,1.0000000116860974e-7]");
        text.clear();
        base64(&mut text, &[1.0, -2.0]);
        assert_eq!(text, "\"AACAPwAAAMA=\"");
    }
    #[test]
    fn the_fast_way_writes_what_the_sure_way_writes() {
        let mut bits = 1_u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Magnitudes from 1e-6 to 1e8.
            let x = f32::from_bits(bits % 0x1700_0000 + 0x3590_0000);
            let [mut narrow, mut wide] = [const { String::new() }; 2];
            array(&mut narrow, &[-x]);
            wide_array(&mut wide, &[x]);
            let [narrow, wide] = [&narrow, &wide].map(|text| text.trim_matches(['[', ']']));
            // Half-way between two numbers that are as short, Go and serde_json take the even one.
            let sure = ((-x).to_string().len(), f64::from(x).to_string().len());
            assert_eq!((narrow.len(), wide.len()), sure, "{narrow} {wide}");
            assert_eq!((narrow.parse(), wide.parse()), (Ok(-x), Ok(f64::from(x))));
        }
    }
}
