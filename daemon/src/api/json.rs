//! What does the body of a request say, read as Go's `encoding/json` reads it?
//!
//! Only the first value counts; names are compared without case; the last of equal names wins;
//! `null` is absent; what is no text becomes U+FFFD. Errors have Go's words, because clients and
//! tests compare them.

mod field;
mod go;
mod input;
mod mend;
mod options;
mod syntax;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use modelfiles::duration::KeepAlive;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use field::Fields;
pub(crate) use go::to_go_json;
pub(crate) use input::Input;
pub(crate) use options::Options;

/// Why a body cannot be used; always a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// There is no body, or only blanks.
    #[error("missing request body")]
    Empty,
    /// The body is no JSON, or not of the expected types; in Go's words.
    #[error("{0}")]
    Invalid(String),
}

/// The fields of a body that are read one by one.
///
/// In Go a bad `keep_alive` goes before every other type error: ask for it first.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    type_name: &'static str,
    text: Cow<'a, str>,
    fields: Vec<(String, Range<usize>)>,
}

/// Reads the object at the start of a body; `type_name` is Go's, such as `api.EmbedRequest`.
pub(crate) fn object<'a>(
    type_name: &'static str,
    body: &'a [u8],
) -> Result<Object<'a>, DecodeError> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let Some(&first) = body.iter().find(|byte| !blank(byte)) else {
        return Err(DecodeError::Empty);
    };
    let text = mend::readable(body);
    let fields = if first == b'{' { Fields::read(&text) } else { no_object(type_name, &text)? };
    match fields {
        Ok(Fields(fields)) => Ok(Object { type_name, text, fields }),
        Err(error) => Err(invalid(syntax::fault(body).unwrap_or_else(|| error.to_string()))),
    }
}

impl Object<'_> {
    /// Returns a text.
    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, DecodeError> {
        self.typed(name, b"\"", "string")
    }

    /// Returns a boolean.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, DecodeError> {
        self.typed(name, b"tf", "bool")
    }

    /// Returns an integer; a number written with a fraction or an exponent is none.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, DecodeError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        if kind(raw) != "number" {
            return Err(self.mismatch(name, kind(raw), "int"));
        }
        let number =
            raw.parse().map_err(|_error| self.mismatch(name, &format!("number {raw}"), "int"));
        number.map(Some)
    }

    /// Returns a list of texts.
    pub(crate) fn strings(&self, name: &str) -> Result<Option<Vec<String>>, DecodeError> {
        let items = self.typed::<Vec<&RawValue>>(name, b"[", "[]string")?;
        let text = |item: &RawValue| self.element(name, item);
        items.map(|items| items.into_iter().map(text).collect()).transpose()
    }

    /// Returns a map of texts.
    pub(crate) fn string_map(
        &self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, DecodeError> {
        let items = self.typed::<BTreeMap<String, &RawValue>>(name, b"{", "map[string]string")?;
        let text = |(key, item): (String, &RawValue)| Ok((key, self.element(name, item)?));
        items.map(|items| items.into_iter().map(text).collect()).transpose()
    }

    /// Returns a map of anything.
    pub(crate) fn map(&self, name: &str) -> Result<Option<Map<String, Value>>, DecodeError> {
        self.typed(name, b"{", "map[string]interface {}")
    }

    /// Returns anything.
    pub(crate) fn value(&self, name: &str) -> Result<Option<Value>, DecodeError> {
        self.raw(name).map(|raw| self.decode(name, raw)).transpose()
    }

    /// Returns the texts to embed, in any of the forms that clients send.
    pub(crate) fn input(&self, name: &str) -> Result<Input, DecodeError> {
        let Some(raw) = self.raw(name) else { return Ok(Input::Absent) };
        Input::read(raw).map_err(|error| decoding(&error))
    }

    /// Returns how long the model shall stay: a number of seconds or a Go duration.
    pub(crate) fn keep_alive(&self, name: &str) -> Result<Option<KeepAlive>, DecodeError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let unsupported = |go_type| Err(invalid(format!("Unsupported type: '{go_type}'")));
        match kind(raw) {
            "string" => {
                let text: String = self.decode(name, raw)?;
                KeepAlive::parse(&text).map(Some).map_err(|error| invalid(error.to_string()))
            }
            "number" => Ok(raw.parse().ok().map(KeepAlive::from_seconds)),
            "object" => unsupported("map[string]interface {}"),
            "array" => unsupported("[]interface {}"),
            other => unsupported(other),
        }
    }

    /// Returns the text of a field's value.
    fn raw(&self, name: &str) -> Option<&str> {
        let same = |(key, _): &&(String, Range<usize>)| key.eq_ignore_ascii_case(name);
        let (_, range) = self.fields.iter().rfind(same)?;
        self.text.get(range.clone()).filter(|raw| *raw != "null")
    }

    /// Reads a field whose value begins with one of `first`.
    fn typed<'s, T: serde::Deserialize<'s>>(
        &'s self,
        name: &str,
        first: &[u8],
        go_type: &str,
    ) -> Result<Option<T>, DecodeError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        if !raw.bytes().next().is_some_and(|byte| first.contains(&byte)) {
            return Err(self.mismatch(name, kind(raw), go_type));
        }
        self.decode(name, raw).map(Some)
    }

    /// Reads a text inside a list or map; null leaves it empty, as in Go.
    fn element(&self, name: &str, item: &RawValue) -> Result<String, DecodeError> {
        match kind(item.get()) {
            "string" => self.decode(name, item.get()),
            "null" => Ok(String::new()),
            other => Err(self.mismatch(name, other, "string")),
        }
    }

    fn decode<'s, T: serde::Deserialize<'s>>(
        &self,
        name: &str,
        raw: &'s str,
    ) -> Result<T, DecodeError> {
        serde_json::from_str(raw).map_err(|error| {
            if error.to_string().starts_with("number out of range") {
                return self.mismatch(name, "number", "float64");
            }
            decoding(&error)
        })
    }

    fn mismatch(&self, name: &str, kind: &str, go_type: &str) -> DecodeError {
        let owner = self.type_name.rsplit('.').next().unwrap_or(self.type_name);
        invalid(format!(
            "json: cannot unmarshal {kind} into Go struct field {owner}.{name} of type {go_type}"
        ))
    }
}

/// Reads a body that is no object: null is an empty one, all else is an error.
fn no_object(
    type_name: &'static str,
    text: &str,
) -> Result<serde_json::Result<Fields>, DecodeError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    match <&RawValue as serde::Deserialize>::deserialize(&mut reader) {
        Err(error) => Ok(Err(error)),
        Ok(value) if value.get() == "null" => Ok(Ok(Fields::default())),
        Ok(value) => {
            let kind = kind(value.get());
            Err(invalid(format!("json: cannot unmarshal {kind} into Go value of type {type_name}")))
        }
    }
}

/// Names the kind of a JSON value as Go's errors do.
fn kind(raw: &str) -> &'static str {
    match raw.bytes().next() {
        Some(b'"') => "string",
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "null",
        _ => "number",
    }
}

fn invalid(text: String) -> DecodeError {
    DecodeError::Invalid(text)
}

/// Words a failure that the first pass over the body cannot find.
fn decoding(error: &serde_json::Error) -> DecodeError {
    let text = error.to_string();
    if text.starts_with("recursion limit") {
        return invalid(syntax::TOO_DEEP.to_owned());
    }
    invalid(text)
}

#[cfg(test)]
mod tests;
