//! What is wrong with a text that is no JSON, in Go's words?
//!
//! It runs only after the real reader has refused a body, so it may be slow but must be exact.

/// What Go says when values stand too deep inside each other.
pub(super) const TOO_DEEP: &str = "exceeded max depth";
/// Where Go stops.
const MAX_DEPTH: usize = 10_000;
const CUT: &str = "unexpected EOF";

/// Returns the first fault of the first value, if it has one.
pub(super) fn fault(body: &[u8]) -> Option<String> {
    Scanner { rest: body, inside: Vec::new() }.run().err()
}

struct Scanner<'a> {
    rest: &'a [u8],
    inside: Vec<Container>,
}

#[derive(Clone, Copy)]
enum Container {
    Array,
    Object,
}

#[derive(Clone, Copy)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    After,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), String> {
        let mut expect = Expect::Value;
        loop {
            self.skip_blanks();
            let byte = self.next()?;
            expect = self.step(expect, byte)?;
            if matches!(expect, Expect::After) && self.inside.is_empty() {
                return Ok(());
            }
        }
    }

    fn step(&mut self, expect: Expect, byte: u8) -> Result<Expect, String> {
        match (expect, byte) {
            (Expect::ValueOrEnd, b']') | (Expect::KeyOrEnd, b'}') => Ok(self.leave()),
            (Expect::Value | Expect::ValueOrEnd, _) => self.value(byte),
            (Expect::Key | Expect::KeyOrEnd, b'"') => self.string().map(|()| Expect::Colon),
            (Expect::Key | Expect::KeyOrEnd, _) => {
                Err(unexpected(byte, "looking for beginning of object key string"))
            }
            (Expect::Colon, b':') => Ok(Expect::Value),
            (Expect::Colon, _) => Err(unexpected(byte, "after object key")),
            (Expect::After, _) => self.after(byte),
        }
    }

    fn after(&mut self, byte: u8) -> Result<Expect, String> {
        match (self.inside.last(), byte) {
            (Some(Container::Array), b',') => Ok(Expect::Value),
            (Some(Container::Object), b',') => Ok(Expect::Key),
            (Some(Container::Array), b']') | (Some(Container::Object), b'}') => Ok(self.leave()),
            (Some(Container::Object), _) => Err(unexpected(byte, "after object key:value pair")),
            _ => Err(unexpected(byte, "after array element")),
        }
    }

    fn value(&mut self, byte: u8) -> Result<Expect, String> {
        match byte {
            b'{' => return self.enter(Container::Object, Expect::KeyOrEnd),
            b'[' => return self.enter(Container::Array, Expect::ValueOrEnd),
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number(byte)?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return Err(unexpected(byte, "looking for beginning of value")),
        }
        Ok(Expect::After)
    }

    fn enter(&mut self, container: Container, expect: Expect) -> Result<Expect, String> {
        self.inside.push(container);
        if self.inside.len() > MAX_DEPTH {
            return Err(TOO_DEEP.to_owned());
        }
        Ok(expect)
    }

    fn leave(&mut self) -> Expect {
        self.inside.pop();
        Expect::After
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                byte @ ..b' ' => return Err(unexpected(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.next()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => (0..4).try_for_each(|_| match self.next()? {
                byte if byte.is_ascii_hexdigit() => Ok(()),
                byte => Err(unexpected(byte, "in \\u hexadecimal character escape")),
            }),
            byte => Err(unexpected(byte, "in string escape code")),
        }
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let digit = if first == b'-' { self.digit("in numeric literal")? } else { first };
        if digit != b'0' {
            self.skip_digits();
        }
        if self.take(|byte| byte == b'.') {
            self.digit("after decimal point in numeric literal")?;
            self.skip_digits();
        }
        if self.take(|byte| matches!(byte, b'e' | b'E')) {
            self.take(|byte| matches!(byte, b'+' | b'-'));
            self.digit("in exponent of numeric literal")?;
            self.skip_digits();
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let expected = char::from(expected);
                let place = format!("in literal {word} (expecting '{expected}')");
                return Err(unexpected(byte, &place));
            }
        }
        Ok(())
    }

    fn digit(&mut self, place: &str) -> Result<u8, String> {
        match self.next()? {
            byte if byte.is_ascii_digit() => Ok(byte),
            byte => Err(unexpected(byte, place)),
        }
    }

    fn skip_digits(&mut self) {
        while self.take(|byte| byte.is_ascii_digit()) {}
    }

    fn skip_blanks(&mut self) {
        while self.take(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {}
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        match self.rest.split_first() {
            Some((&byte, rest)) if wanted(byte) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Result<u8, String> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| CUT.to_owned())?;
        self.rest = rest;
        Ok(byte)
    }
}

fn unexpected(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        // Go takes the byte for a code point of its own, whatever it was a part of.
        _ => modelfiles::human::quoted(char::from(byte).encode_utf8(&mut [0; 4]))
            .trim_matches('"')
            .to_owned(),
    };
    format!("invalid character '{shown}' {place}")
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn faults_have_gos_words() {
        let value = "looking for beginning of value";
        let key = "looking for beginning of object key string";
        let table = [
            ("xyz", format!("invalid character 'x' {value}")),
            ("\u{feff}{}", format!("invalid character 'ï' {value}")),
            ("\0", format!("invalid character '\\x00' {value}")),
            ("'", format!("invalid character '\\'' {value}")),
            ("]", format!("invalid character ']' {value}")),
            ("[1,]", format!("invalid character ']' {value}")),
            ("[,", format!("invalid character ',' {value}")),
            ("\\", format!("invalid character '\\\\' {value}")),
            ("{a", format!("invalid character 'a' {key}")),
            ("{\"a\":1,}", format!("invalid character '}}' {key}")),
            ("{\"a\" \"", "invalid character '\"' after object key".to_owned()),
            ("{\"a\":01", "invalid character '1' after object key:value pair".to_owned()),
            ("[1 2]", "invalid character '2' after array element".to_owned()),
            ("[-x]", "invalid character 'x' in numeric literal".to_owned()),
            ("[1.x]", "invalid character 'x' after decimal point in numeric literal".to_owned()),
            ("[1ex]", "invalid character 'x' in exponent of numeric literal".to_owned()),
            ("[\"a\nb\"]", "invalid character '\\n' in string literal".to_owned()),
            ("[\"\\x\"]", "invalid character 'x' in string escape code".to_owned()),
            (
                "[\"\\u00g\"]",
                "invalid character 'g' in \\u hexadecimal character escape".to_owned(),
            ),
            ("[trx]", "invalid character 'x' in literal true (expecting 'u')".to_owned()),
            ("[nul]", "invalid character ']' in literal null (expecting 'l')".to_owned()),
        ];
        for (body, text) in table {
            assert_eq!(fault(body.as_bytes()), Some(text), "{body:?}");
        }
    }

    #[test]
    fn what_is_cut_says_so() {
        for body in ["{", "{\"model\":", "[\"a", "[\"\\u00", "[tru", "[-", "{\"a\":1", "[1,"] {
            assert_eq!(fault(body.as_bytes()).as_deref(), Some("unexpected EOF"), "{body:?}");
        }
    }

    #[test]
    fn right_values_have_no_fault_and_what_follows_is_not_read() {
        let more = "{\"a\":[1.5e-3,-0,true,false,null,{}],\"b\":{\"c\":\"\\u00e9\\n\"}}";
        for body in ["{} x", "1 2", "\"a\"b", "null]", "[[],{}]", more] {
            assert_eq!(fault(body.as_bytes()), None, "{body:?}");
        }
    }
}
