//! Which texts does a request bring?

/// The texts to embed, in the forms that clients send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// Nothing, or null.
    Absent,
    /// One text.
    One(String),
    /// A list of texts, perhaps empty.
    Many(Vec<String>),
    /// Lists of token ids, of which OpenAI's clients send one or several.
    Ids(Vec<Vec<u32>>),
    /// Anything else.
    Other,
}

impl Input {
    /// Reads a JSON value that is not null.
    pub(super) fn read(raw: &str) -> serde_json::Result<Self> {
        match raw.bytes().next() {
            Some(b'"') => serde_json::from_str(raw).map(Self::One),
            Some(b'[') => Ok(list(raw)),
            _ => Ok(Self::Other),
        }
    }
}

/// Reads a list by what its first element is.
fn list(raw: &str) -> Input {
    let first = raw.trim_start_matches(['[', ' ', '\t', '\r', '\n']).bytes().next();
    if matches!(first, Some(b'"' | b']')) {
        return serde_json::from_str(raw).map_or(Input::Other, Input::Many);
    }
    if let Ok(ids) = serde_json::from_str(raw) {
        return Input::Ids(vec![ids]);
    }
    serde_json::from_str(raw).map_or(Input::Other, Input::Ids)
}
