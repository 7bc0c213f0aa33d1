//! What does a Modelfile say? Ollama's grammar, read and written.

mod parse;
mod print;
mod version;

use thiserror::Error;

use crate::parameters::{self, ParameterError, Parameters, Value};

/// The contents of a Modelfile, in the groups that a model is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modelfile {
    /// What the model is made from: names, files or folders. Never empty after parsing.
    pub from: Vec<String>,
    /// Adapter files.
    pub adapters: Vec<String>,
    /// Files of a draft model.
    pub drafts: Vec<String>,
    /// Keys and texts in their order; a key may repeat.
    pub parameters: Vec<(String, String)>,
    /// The prompt template.
    pub template: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// Licence texts.
    pub licenses: Vec<String>,
    /// Roles and texts of a conversation's beginning.
    pub messages: Vec<(String, String)>,
    /// The name of a prompt renderer.
    pub renderer: Option<String>,
    /// The name of an output parser.
    pub parser: Option<String>,
    /// The least version that runs the model, without a leading `v`.
    pub requires: Option<String>,
}

/// Says why a text is no Modelfile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelfileError {
    /// A line begins with a word that is no instruction.
    #[error(
        "(line {0}): command must be one of \"from\", \"license\", \"template\", \"system\", \"adapter\", \"draft\", \
         \"renderer\", \"parser\", \"parameter\", \"message\", or \"requires\""
    )]
    Command(usize),
    /// A message is nobody's.
    #[error("(line {0}): message role must be one of \"system\", \"user\", or \"assistant\"")]
    Role(usize),
    /// There is nothing to make the model from.
    #[error("no FROM line")]
    NoFrom,
    /// A quote is not closed, or an instruction has no value.
    #[error("unexpected EOF")]
    Unfinished,
    /// `REQUIRES` holds no version.
    #[error("requires must be a valid semver (e.g. 0.14.0)")]
    Requires,
    /// A parameter is refused.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

impl Modelfile {
    /// Parses UTF-8, or UTF-16 that begins with a byte order mark.
    pub fn parse(bytes: &[u8]) -> Result<Self, ModelfileError> {
        parse::parse(&parse::decode(bytes))
    }

    /// Gives the parameters their types: the last of a key counts, lists collect, deprecated keys
    /// are dropped.
    pub fn parameters(&self) -> Result<Parameters, ModelfileError> {
        let mut typed = Parameters::new();
        for (key, text) in self.parameters.iter().filter(|(key, _)| !parameters::is_deprecated(key))
        {
            let value = parameters::typed(key, std::slice::from_ref(text))?;
            match (typed.get_mut(key), value) {
                (Some(Value::List(list)), Value::List(more)) => list.extend(more),
                (Some(slot), value) => *slot = value,
                (None, value) => drop(typed.insert(key.clone(), value)),
            }
        }
        Ok(typed)
    }

    /// Sets the parameters from typed ones, in the order of their keys.
    pub fn set_parameters(&mut self, typed: &Parameters) {
        let lines = |(key, value): (&String, &Value)| {
            parameters::texts(value).into_iter().map(|text| (key.clone(), text)).collect::<Vec<_>>()
        };
        self.parameters = typed.iter().flat_map(lines).collect();
    }

    /// Returns a line for each parameter that is accepted but dropped.
    pub fn warnings(&self) -> Vec<String> {
        let keys =
            self.parameters.iter().map(|(key, _)| key).filter(|key| parameters::is_deprecated(key));
        keys.map(|key| format!("warning: parameter {key} is deprecated")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(lines: &str) -> Result<Parameters, String> {
        let modelfile = Modelfile::parse(format!("FROM x\n{lines}").as_bytes()).unwrap();
        modelfile.parameters().map_err(|error| error.to_string())
    }

    #[test]
    fn last_scalar_counts_and_lists_collect() {
        let typed =
            typed("PARAMETER num_ctx 1\nPARAMETER stop a\nPARAMETER num_ctx 2\nPARAMETER stop b")
                .unwrap();
        let stop = Value::List(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            typed,
            Parameters::from([("num_ctx".to_owned(), Value::Int(2)), ("stop".to_owned(), stop)])
        );
    }

    #[test]
    fn parameters_are_checked() {
        assert_eq!(typed("PARAMETER foo 1"), Err("unknown parameter 'foo'".to_owned()));
        assert_eq!(typed("PARAMETER num_ctx x"), Err("invalid int value [x]".to_owned()));
    }

    #[test]
    fn deprecated_parameters_only_warn() {
        let modelfile =
            Modelfile::parse(b"FROM x\nPARAMETER mirostat 1\nPARAMETER num_ctx 2").unwrap();
        assert_eq!(modelfile.warnings(), ["warning: parameter mirostat is deprecated"]);
        assert_eq!(modelfile.parameters().unwrap().len(), 1);
    }

    #[test]
    fn typed_parameters_come_back() {
        let json = r#"{"num_ctx": 256, "query_prompt": "query: ", "stop": ["a", "b"], "temperature": 0.7}"#;
        let parameters: Parameters = serde_json::from_str(json).unwrap();
        let mut modelfile = Modelfile { from: vec!["x".to_owned()], ..Modelfile::default() };
        modelfile.set_parameters(&parameters);
        let again = Modelfile::parse(modelfile.to_string().as_bytes()).unwrap();
        assert_eq!(again.parameters(), Ok(parameters));
    }
}
