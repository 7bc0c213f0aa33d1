//! Which fields does an object have, and where in the text do their values stand?

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// No honest body has more; a hostile one would cost many times its size.
const MAX_FIELDS: usize = 1024;

/// The names of an object in their order, each with the place of its value.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(String, Range<usize>)>);

impl Fields {
    /// Reads the object at the start of `text`.
    pub(super) fn read(text: &str) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        reader.deserialize_map(Places { text })
    }
}

struct Places<'a> {
    text: &'a str,
}

impl<'a> Visitor<'a> for Places<'a> {
    type Value = Fields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'a RawValue>()? {
            if fields.len() == MAX_FIELDS {
                return Err(A::Error::custom(format!("json: more than {MAX_FIELDS} fields")));
            }
            // The value is a part of the text, so the distance of their addresses is its place.
            let start = value.get().as_ptr().addr() - self.text.as_ptr().addr();
            fields.push((name, start..start + value.get().len()));
        }
        Ok(Fields(fields))
    }
}
