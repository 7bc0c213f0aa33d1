//! How is a Modelfile read? A cursor over instructions, keys and values; a value may span lines.

use std::borrow::Cow;

use super::version::version;
use super::{Modelfile, ModelfileError};

/// Decodes UTF-16 after its byte order mark, else UTF-8, whose mark is dropped.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8_lossy(rest),
    }
}

/// Parses decoded text.
pub(super) fn parse(text: &str) -> Result<Modelfile, ModelfileError> {
    let mut cursor = Cursor { text, position: 0 };
    let mut modelfile = Modelfile::default();
    while cursor.skip_to_instruction() {
        instruction(&mut cursor, &mut modelfile)?;
    }
    if modelfile.from.is_empty() { Err(ModelfileError::NoFrom) } else { Ok(modelfile) }
}

/// Reads one instruction with its value into the Modelfile.
fn instruction(cursor: &mut Cursor<'_>, modelfile: &mut Modelfile) -> Result<(), ModelfileError> {
    let start = cursor.position;
    let word = cursor.take(|c| c.is_ascii_alphabetic()).to_ascii_lowercase();
    match word.as_str() {
        _ if cursor.rest().is_empty() => return Err(ModelfileError::Unfinished),
        _ if !cursor.rest().starts_with(BLANK) => {
            return Err(ModelfileError::Command(cursor.line(start)));
        }
        "from" => modelfile.from.push(cursor.value()?),
        "adapter" => modelfile.adapters.push(cursor.value()?),
        "draft" => modelfile.drafts.push(cursor.value()?),
        "license" => modelfile.licenses.push(cursor.value()?),
        "template" => modelfile.template = Some(cursor.value()?),
        "system" => modelfile.system = Some(cursor.value()?),
        "renderer" => modelfile.renderer = Some(cursor.value()?),
        "parser" => modelfile.parser = Some(cursor.value()?),
        "requires" => modelfile.requires = Some(version(&cursor.value()?)?),
        "parameter" => {
            let key = cursor.key(|c| c.is_ascii_alphanumeric() || c == '_')?;
            modelfile.parameters.push((key, cursor.value()?));
        }
        "message" => {
            let role = cursor.key(|c| c.is_ascii_alphabetic())?;
            if !["system", "user", "assistant"].contains(&role.as_str()) {
                return Err(ModelfileError::Role(cursor.line(start)));
            }
            modelfile.messages.push((role, cursor.value()?));
        }
        _ => return Err(ModelfileError::Command(cursor.line(start))),
    }
    Ok(())
}

/// What separates the words of an instruction.
const BLANK: [char; 2] = [' ', '\t'];
/// What ends an instruction.
const NEWLINE: [char; 2] = ['\n', '\r'];

/// A place in the text.
struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    /// Takes the characters that fit.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())];
        self.position += taken.len();
        taken
    }

    /// Skips blanks, empty lines and comments; returns whether anything follows.
    fn skip_to_instruction(&mut self) -> bool {
        let is_space = |c| BLANK.contains(&c) || NEWLINE.contains(&c);
        self.take(is_space);
        while self.rest().starts_with('#') {
            self.take(|c| !NEWLINE.contains(&c));
            self.take(is_space);
        }
        !self.rest().is_empty()
    }

    /// Takes a parameter's key or a message's role, which a blank must follow.
    fn key(&mut self, fits: impl Fn(char) -> bool) -> Result<String, ModelfileError> {
        self.take(|c| BLANK.contains(&c));
        let key = self.take(fits).to_owned();
        if self.rest().starts_with(BLANK) { Ok(key) } else { Err(ModelfileError::Unfinished) }
    }

    /// Takes the value: the rest of the line, or of more lines while a quote is open.
    fn value(&mut self) -> Result<String, ModelfileError> {
        let start = self.position;
        self.take(|c| !NEWLINE.contains(&c));
        loop {
            if let Some(value) = unquote(self.text[start..self.position].trim()) {
                return Ok(value.to_owned());
            }
            self.take_filled_line()?;
        }
    }

    /// Takes lines up to one that is not blank: only that one can close a quote, and time stays
    /// linear.
    fn take_filled_line(&mut self) -> Result<(), ModelfileError> {
        while !self.rest().is_empty() {
            self.take(|c| NEWLINE.contains(&c));
            if !self.take(|c| !NEWLINE.contains(&c)).trim().is_empty() {
                return Ok(());
            }
        }
        Err(ModelfileError::Unfinished)
    }

    /// Returns the number of the line that holds a position, however lines end.
    fn line(&self, position: usize) -> usize {
        1 + self.text[..position].replace("\r\n", "\n").matches(NEWLINE).count()
    }
}

/// Takes the quotes off a value; `None` while a quote is open.
fn unquote(value: &str) -> Option<&str> {
    for quote in ["\"\"\"", "\""] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.strip_suffix(quote);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Modelfile, String> {
        Modelfile::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    fn system(value: &str) -> Result<String, String> {
        read(&format!("FROM x\nSYSTEM {value}"))
            .map(|modelfile| modelfile.system.unwrap_or_default())
    }

    #[test]
    fn every_instruction() {
        let text = "# a comment\n\n  from  all-minilm  \n\tFrom ./projector\nADAPTER a\nadapter b\nDRAFT d\n\
            PARAMETER num_ctx 256\nparameter stop \"a \"\nPARAMETER \t stop b\nTEMPLATE {{ .Prompt }}\nSYSTEM one\n\
            SYSTEM two # not a comment\nLICENSE MIT\nLICENSE Apache\nMESSAGE user hi\nmessage assistant \"\"\"ho\nho\"\"\"\n\
            RENDERER r\nPARSER p\nREQUIRES v0.14.0";
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let texts = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| (*text).to_owned()).collect()
        };
        let expected = Modelfile {
            from: texts(&["all-minilm", "./projector"]),
            adapters: texts(&["a", "b"]),
            drafts: texts(&["d"]),
            parameters: pairs(&[("num_ctx", "256"), ("stop", "a "), ("stop", "b")]),
            template: Some("{{ .Prompt }}".to_owned()),
            system: Some("two # not a comment".to_owned()),
            licenses: texts(&["MIT", "Apache"]),
            messages: pairs(&[("user", "hi"), ("assistant", "ho\nho")]),
            renderer: Some("r".to_owned()),
            parser: Some("p".to_owned()),
            requires: Some("0.14.0".to_owned()),
        };
        assert_eq!(read(text), Ok(expected.clone()));
        assert_eq!(read(&text.replace('\n', "\r\n")).unwrap().licenses, expected.licenses);
        assert_eq!(read(&text.replace('\n', "\r")).unwrap().parameters, expected.parameters);
    }

    #[test]
    fn values() {
        let rows = [
            ("a", "a"),
            ("  a b  ", "a b"),
            ("\"a\"", "a"),
            ("\" a \"", " a "),
            ("\"\"\"\na\n\"\"\"", "\na\n"),
            ("\"\"\"\"\"\"", ""),
            ("\"\"", ""),
            ("", ""),
            ("\"a\nb\"", "a\nb"),
            ("\"\n\n \n\"", "\n\n \n"),
            ("\"\"\"a \"b\" 'c' ''' \"\" d\"\"\"", "a \"b\" 'c' ''' \"\" d"),
            ("\"a\" and \"b\"", "a\" and \"b"),
            ("'a'", "'a'"),
            ("a \"b\"", "a \"b\""),
            ("\\n", "\\n"),
            ("\"\"\"a\"\"\" tail\nb\"\"\"", "a\"\"\" tail\nb"),
        ];
        for (value, expected) in rows {
            assert_eq!(system(value), Ok(expected.to_owned()), "{value:?}");
            assert_eq!(
                system(&format!("{value}\nLICENSE x")),
                Ok(expected.to_owned()),
                "{value:?} and more"
            );
        }
    }

    #[test]
    fn errors() {
        let command = |line| ModelfileError::Command(line).to_string();
        let role = |line| ModelfileError::Role(line).to_string();
        let (eof, from) = ("unexpected EOF".to_owned(), "no FROM line".to_owned());
        let rows = [
            ("", from.clone()),
            ("# only a comment", from.clone()),
            ("PARAMETER num_ctx 1", from),
            ("\nFROM foo\nBADCOMMAND param1 value1\n", command(3)),
            ("FROM foo\r\n\r\nBAD x", command(3)),
            ("FROM \"a\nb\"\nBAD x", command(3)),
            ("FROM\nfoo", command(1)),
            ("FROM1 foo", command(1)),
            ("\"FROM\" foo", command(1)),
            ("É foo", command(1)),
            ("FROM", eof.clone()),
            ("FROM foo\nWHAT", eof.clone()),
            ("FROM foo\nPARAMETER num_ctx", eof.clone()),
            ("FROM foo\nPARAMETER num_ctx\n", eof.clone()),
            ("FROM foo\nPARAMETER num-ctx 1", eof.clone()),
            ("FROM foo\nMESSAGE system", eof.clone()),
            ("FROM foo\nMESSAGE system\n", eof.clone()),
            ("FROM foo\nMESSAGE badguy x", role(2)),
            ("FROM foo\n\nMESSAGE USER x", role(3)),
            ("FROM foo\nSYSTEM \"\"\"a\"\"", eof.clone()),
            ("FROM foo\nSYSTEM \"\"\"", eof.clone()),
            ("FROM foo\nSYSTEM \"", eof.clone()),
            ("FROM foo\nSYSTEM \"a", eof),
            ("FROM foo\nREQUIRES x", "requires must be a valid semver (e.g. 0.14.0)".to_owned()),
        ];
        for (text, message) in rows {
            assert_eq!(read(text), Err(message), "{text:?}");
        }
        assert_eq!(
            command(3),
            "(line 3): command must be one of \"from\", \"license\", \"template\", \"system\", \"adapter\", \"draft\", \
             \"renderer\", \"parser\", \"parameter\", \"message\", or \"requires\""
        );
        assert_eq!(
            role(3),
            "(line 3): message role must be one of \"system\", \"user\", or \"assistant\""
        );
    }

    #[test]
    fn encodings() {
        let text = "FROM bob\nSYSTEM \"é 日 🙂\"\n";
        let expected = read(text).unwrap();
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for (mark, rest) in [
            (&b"\xff\xfe"[..], &little[..]),
            (b"\xfe\xff", &big),
            (b"\xef\xbb\xbf", text.as_bytes()),
        ] {
            assert_eq!(Modelfile::parse(&[mark, rest].concat()), Ok(expected.clone()), "{mark:?}");
        }
        assert_eq!(Modelfile::parse(b"FROM a\xff").unwrap().from, ["a\u{fffd}"]);
    }

    #[test]
    fn an_open_quote_over_a_million_lines_ends_soon() {
        for line in ["\n", " \n", "\n\""] {
            let value = format!("\"\"\"{}", line.repeat(300_000));
            assert_eq!(system(&value), Err("unexpected EOF".to_owned()));
        }
    }
}
