//! What does the configuration file say?

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{ConfigError, Surroundings, variables};

/// The file for the whole machine.
const OF_THE_MACHINE: &str = "/etc/vecuna/config.toml";

/// Returns the text of the configuration file: the one that is named, else the user's, else the
/// machine's; only the first may not be missing.
pub(super) fn read(surroundings: &Surroundings<'_>) -> Result<Option<String>, ConfigError> {
    if let Some(path) = (surroundings.variable)("VECUNA_CONFIG").filter(|path| !path.is_empty()) {
        return open(Path::new(&path)).map(Some);
    }
    for path in [surroundings.config_file(), Some(PathBuf::from(OF_THE_MACHINE))] {
        let Some(path) = path else { continue };
        match open(&path) {
            Err(ConfigError::Unreadable { source, .. })
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

/// Returns the settings of a file as the texts that variables would have.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let syntax = |error: toml::de::Error| ConfigError::Syntax(error.to_string().trim().to_owned());
    let table = text.parse::<toml::Table>().map_err(syntax)?;
    table.into_iter().map(setting).collect()
}

fn open(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    std::fs::read_to_string(path).map_err(unreadable)
}

fn setting((key, value): (String, toml::Value)) -> Result<(String, String), ConfigError> {
    if !variables().iter().any(|variable| variable.key == Some(key.as_str())) {
        return Err(ConfigError::UnknownKey(key));
    }
    match as_text(&value) {
        Some(text) => Ok((key, text)),
        None => Err(ConfigError::Shape(key)),
    }
}

fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
