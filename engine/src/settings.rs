//! How a value is looked up in a JSON configuration whose keys changed over the years.

use serde_json::Value;

use crate::Error;

/// A parsed JSON object of a repository, with the path it came from.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    file: String,
    values: Value,
}

impl Settings {
    /// Parses the bytes of a file that must hold one JSON object.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let values: Value = serde_json::from_slice(bytes).map_err(|e| Error::file(file, e))?;
        if !values.is_object() {
            return Err(Error::file(file, "not a JSON object"));
        }
        Ok(Self { file: file.to_owned(), values })
    }

    /// Takes values that no file names.
    pub(crate) fn new(file: &str, values: Value) -> Self {
        Self { file: file.to_owned(), values }
    }

    /// Returns the first of these keys that is there and not null.
    pub(crate) fn get(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().filter_map(|key| self.values.get(key)).find(|value| !value.is_null())
    }

    /// Returns the settings of a part, which may be an object of its own; where there is none, all are absent. CLIP's
    /// first configurations have such parts twice, and what the second says holds.
    pub(crate) fn part(&self, name: &str) -> Self {
        let mut values = serde_json::Map::new();
        for key in [name, &format!("{name}_dict")] {
            let part = self.get(&[key]).and_then(Value::as_object);
            values.extend(
                part.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())),
            );
        }
        Self::new(&self.file, Value::Object(values))
    }

    /// Returns the names of all settings.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.as_object().into_iter().flat_map(|values| values.keys().map(String::as_str))
    }

    /// Returns a text.
    pub(crate) fn text(&self, keys: &[&str]) -> Option<&str> {
        self.get(keys)?.as_str()
    }

    /// Returns a truth value; absent means false.
    pub(crate) fn flag(&self, keys: &[&str]) -> bool {
        self.get(keys).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Returns a number, if it is there.
    pub(crate) fn number(&self, keys: &[&str]) -> Option<f64> {
        self.get(keys)?.as_f64()
    }

    /// Returns a positive number, or `default` where the key is absent.
    pub(crate) fn positive(&self, keys: &[&str], default: f64) -> Result<f64, Error> {
        let Some(value) = self.get(keys) else { return Ok(default) };
        let number = value.as_f64().filter(|number| *number > 0.0 && number.is_finite());
        number.ok_or_else(|| self.error(format!("'{}' is {value}, no positive number", keys[0])))
    }

    /// Returns a size from 1 to `most`, or `default` where the key is absent.
    pub(crate) fn size_or(
        &self,
        keys: &[&str],
        default: usize,
        most: usize,
    ) -> Result<usize, Error> {
        let Some(value) = self.get(keys) else { return Ok(default) };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
        size.filter(|n| (1..=most).contains(n)).ok_or_else(|| {
            Error::file(&self.file, format!("'{}' is {value}, not in 1..={most}", keys[0]))
        })
    }

    /// Returns a size from 1 to `most` that must be there.
    pub(crate) fn size(&self, keys: &[&str], most: usize) -> Result<usize, Error> {
        match self.get(keys) {
            Some(_) => self.size_or(keys, 0, most),
            None => Err(self.error(format!("'{}' is missing", keys[0]))),
        }
    }

    /// Returns all keys with their values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.values.as_object().into_iter().flatten()
    }

    /// Returns an error about this file.
    pub(crate) fn error(&self, problem: impl std::fmt::Display) -> Error {
        Error::file(&self.file, problem)
    }
}
