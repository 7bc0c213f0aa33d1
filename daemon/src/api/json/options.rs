//! What do the `options` of a request ask for?

use serde_json::{Map, Value};

/// The options that matter for embeddings; all others are checked and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The number of tokens a text may have.
    pub(crate) num_ctx: Option<i64>,
    /// The number of tokens a runner takes at once.
    pub(crate) num_batch: Option<i64>,
    /// The number of layers on the GPU.
    pub(crate) num_gpu: Option<i64>,
    /// The number of threads.
    pub(crate) num_thread: Option<i64>,
}

/// An option has a value of the wrong type; Ollama answers 500, once the model is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option \"{key}\" must be of {wanted}")]
pub(crate) struct OptionError {
    /// The option.
    pub(crate) key: &'static str,
    /// What its value must be.
    pub(crate) wanted: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Float,
    Boolean,
    Texts,
}

const KINDS: &[(&str, Kind)] = &[
    ("num_ctx", Kind::Integer),
    ("num_batch", Kind::Integer),
    ("num_gpu", Kind::Integer),
    ("main_gpu", Kind::Integer),
    ("use_mmap", Kind::Boolean),
    ("num_thread", Kind::Integer),
    ("draft_num_predict", Kind::Integer),
    ("num_keep", Kind::Integer),
    ("seed", Kind::Integer),
    ("num_predict", Kind::Integer),
    ("top_k", Kind::Integer),
    ("top_p", Kind::Float),
    ("min_p", Kind::Float),
    ("typical_p", Kind::Float),
    ("repeat_last_n", Kind::Integer),
    ("temperature", Kind::Float),
    ("repeat_penalty", Kind::Float),
    ("presence_penalty", Kind::Float),
    ("frequency_penalty", Kind::Float),
    ("stop", Kind::Texts),
];

impl Options {
    /// Reads the options of a request; unknown ones are ignored, and so is null.
    pub(crate) fn from_map(map: &Map<String, Value>) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let Some((key, kind)) = KINDS.iter().find(|(key, _)| key == name) else { continue };
            if let Some(wanted) = kind.refuses(value) {
                return Err(OptionError { key, wanted });
            }
            options.set(key, integer(value));
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: Option<i64>) {
        match key {
            "num_ctx" => self.num_ctx = value,
            "num_batch" => self.num_batch = value,
            "num_gpu" => self.num_gpu = value,
            "num_thread" => self.num_thread = value,
            _ => {}
        }
    }
}

impl Kind {
    /// Returns what a value must be, when it is not.
    fn refuses(self, value: &Value) -> Option<&'static str> {
        let texts = |items: &Vec<Value>| items.iter().all(Value::is_string);
        match self {
            Self::Integer => (!value.is_number()).then_some("type integer"),
            Self::Float => (!value.is_number()).then_some("type float32"),
            Self::Boolean => (!value.is_boolean()).then_some("type boolean"),
            Self::Texts => match value.as_array() {
                None => Some("type array"),
                Some(items) => (!texts(items)).then_some("an array of strings"),
            },
        }
    }
}

/// Returns a number without its fraction.
fn integer(value: &Value) -> Option<i64> {
    // Float to integer stops at the ends of the range.
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Options;

    fn read(options: &serde_json::Value) -> Result<Options, String> {
        Options::from_map(options.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn known_options_are_read_and_others_ignored() {
        let options = json!({"num_ctx": 3.9, "num_batch": -1, "foo": {}, "Num_Ctx": "x",
            "temperature": 0, "seed": 123, "stop": ["a"], "use_mmap": true, "num_gpu": null});
        let expected = Options { num_ctx: Some(3), num_batch: Some(-1), ..Options::default() };
        assert_eq!(read(&options), Ok(expected));
    }

    #[test]
    fn wrong_types_have_ollamas_words() {
        let table = [
            (json!({"num_ctx": "x"}), "option \"num_ctx\" must be of type integer"),
            (json!({"temperature": "x"}), "option \"temperature\" must be of type float32"),
            (json!({"use_mmap": 1}), "option \"use_mmap\" must be of type boolean"),
            (json!({"stop": "x"}), "option \"stop\" must be of type array"),
            (json!({"stop": [1]}), "option \"stop\" must be of an array of strings"),
        ];
        for (options, text) in table {
            assert_eq!(read(&options), Err(text.to_owned()));
        }
    }
}
