//! How vectors are written: the shortest decimals that give the same bits again, as Go prints them, or base64.

use std::fmt::{Display, LowerExp, Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Appends `[x,y,…]` in f32.
pub(crate) fn array(out: &mut String, vector: &[f32]) {
    list(out, vector.iter().copied(), f64::from);
}

/// Appends `[x,y,…]` with each value widened to f64, as the old endpoint of Ollama does.
pub(crate) fn wide_array(out: &mut String, vector: &[f32]) {
    list(out, vector.iter().map(|x| f64::from(*x)), |x| x);
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
) {
    out.push('[');
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.push(',');
        }
        // Go changes to the exponent form at these two magnitudes; writing to a string cannot fail.
        let magnitude = wide(value).abs();
        let written = if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            write!(out, "{value:e}")
        } else {
            write!(out, "{value}")
        };
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    out.push(']');
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
}
