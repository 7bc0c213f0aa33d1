//! Where does the value of one setting come from?

use std::collections::BTreeMap;

use super::variables::{Variable, variables};
use super::{ConfigError, file, values};

/// The variables and the configuration file, and what was wrong in them.
pub(super) struct Settings<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
    warnings: Vec<String>,
}

impl<'a> Settings<'a> {
    /// Reads the text of the configuration file; variables are asked when needed.
    pub(super) fn new(
        variable: &'a dyn Fn(&str) -> Option<String>,
        file: &str,
    ) -> Result<Self, ConfigError> {
        Ok(Self { variable, file: file::parse(file)?, warnings: Vec::new() })
    }

    /// Returns the text of a setting, if it has one that is not blank.
    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        self.find(name).map(|(_, text)| text)
    }

    /// Returns a setting that is on or off.
    pub(super) fn flag(&self, name: &'static str) -> bool {
        self.text(name).is_some_and(|text| values::boolean(&text))
    }

    /// Returns what `read` makes of a setting; text that it does not understand is warned about.
    pub(super) fn parse<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let (source, text) = self.find(name)?;
        let value = read(&text);
        if value.is_none() {
            let default = declared(name).default;
            self.warnings.push(format!("{source}: cannot use '{text}', taking {default}"));
        }
        value
    }

    /// Says whether a variable, ours or Ollama's, gives this setting.
    pub(super) fn is_in_environment(&self, name: &'static str) -> bool {
        self.in_environment(declared(name)).is_some()
    }

    /// Remembers something that the log must say.
    pub(super) fn warn(&mut self, name: &'static str, warning: &str) {
        let source = self.find(name).map_or(name, |(source, _)| source);
        self.warnings.push(format!("{source}: {warning}"));
    }

    /// Returns what was wrong.
    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    fn find(&self, name: &'static str) -> Option<(&'static str, String)> {
        let variable = declared(name);
        self.in_environment(variable).or_else(|| self.in_file(variable))
    }

    fn in_environment(&self, variable: &Variable) -> Option<(&'static str, String)> {
        let names = [Some(variable.name), variable.fallback];
        names.into_iter().flatten().find_map(|name| {
            let text = (self.variable)(name)?;
            values::trim(&text).map(|text| (name, text.to_owned()))
        })
    }

    fn in_file(&self, variable: &Variable) -> Option<(&'static str, String)> {
        let key = variable.key?;
        values::trim(self.file.get(key)?).map(|text| (key, text.to_owned()))
    }
}

/// Returns the declaration of a setting.
fn declared(name: &'static str) -> &'static Variable {
    let found = variables().iter().find(|variable| variable.name == name);
    found.expect("every setting that is read stands in the table")
}
