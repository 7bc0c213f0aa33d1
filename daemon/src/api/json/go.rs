//! How does Go write JSON?

use std::fmt::{Display, LowerExp};
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Returns a value as Go writes it: `<`, `>`, `&` and the two line separators of Unicode are
/// escaped, and numbers have an exponent only below 1e-6 and from 1e21 on.
pub(crate) fn to_go_json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, GoFormatter);
    // Only a map with odd keys or a failing Serialize could do this, and we have neither.
    value.serialize(&mut serializer).expect("our own types can be written as JSON");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_f32<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f32) -> io::Result<()> {
        let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
        write_number(out, value, plain)
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
        write_number(out, value, plain)
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            let character = from.chars().next().unwrap_or_default();
            write!(out, "{before}\\u{:04x}", u32::from(character))?;
            rest = &from[character.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// Writes a number with an exponent where Go does, and with the sign that Go gives the exponent.
fn write_number<W: ?Sized + io::Write>(
    out: &mut W,
    value: impl Display + LowerExp,
    plain: bool,
) -> io::Result<()> {
    if plain {
        return write!(out, "{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => write!(out, "{digits}e+{power}"),
        _ => out.write_all(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::to_go_json;

    #[test]
    fn text_that_could_be_markup_is_escaped() {
        let text = to_go_json(&"a<b>&\u{2028}\u{2029}\"\n\u{1}é");
        assert_eq!(text, r#""a\u003cb\u003e\u0026\u2028\u2029\"\n\u0001é""#);
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let table = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.010_071_031, "0.010071031"),
            (0.000_01, "0.00001"),
            (0.000_001, "0.000001"),
            (0.000_000_9, "9e-7"),
            (1.25e-7, "1.25e-7"),
            (16_777_216.0, "16777216"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
        ];
        for (value, text) in table {
            assert_eq!(to_go_json(&value), text, "f64");
            assert_eq!(to_go_json(&(value as f32)), text, "f32");
        }
        assert_eq!(to_go_json(&f64::from(0.1_f32)), "0.10000000149011612");
    }
}
