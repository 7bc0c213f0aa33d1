//! Which model does a person mean? `[scheme://][host/][namespace/]model[:tag]`, Ollama's grammar.

use std::fmt;

use thiserror::Error;

use crate::human::quoted;

/// The host of a name that gives none.
pub const DEFAULT_HOST: &str = "registry.ollama.ai";
/// The namespace of a name that gives none.
pub const DEFAULT_NAMESPACE: &str = "library";
/// The tag of a name that gives none.
pub const DEFAULT_TAG: &str = "latest";

/// The longest host, in bytes; Ollama's limit, as are the character sets below.
const MAX_HOST: usize = 350;
/// The longest namespace, model or tag, in bytes.
const MAX_PART: usize = 80;

/// Says why a text names no model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text does not follow the grammar.
    #[error("invalid model name")]
    Invalid,
    /// The text ends in both `:local` and `:cloud`; holds the text as given.
    #[error("use either :local or :cloud, not both: {}", quoted(.0))]
    Conflict(String),
}

/// A full, valid model name; every part is safe as one component of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

impl Name {
    /// Parses a name and fills the parts it leaves out with the defaults.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (rest, tag) = match text.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
            _ => (text, None),
        };
        let (rest, model) = split(rest);
        let (host, namespace) = match rest.map(split) {
            Some((host, namespace)) => (host, Some(namespace)),
            None => (None, None),
        };
        let host = host.map(|host| host.split_once("://").map_or(host, |(_, host)| host));
        Self::from_parts([
            host.unwrap_or(DEFAULT_HOST),
            namespace.unwrap_or(DEFAULT_NAMESPACE),
            model,
            tag.unwrap_or(DEFAULT_TAG),
        ])
        .ok_or(NameError::Invalid)
    }

    /// Builds a name from host, namespace, model and tag; `None` when a part is not valid.
    pub fn from_parts([host, namespace, model, tag]: [&str; 4]) -> Option<Self> {
        let valid = is_part(host, MAX_HOST, ".:-")
            && is_part(namespace, MAX_PART, "-")
            && is_part(model, MAX_PART, ".-")
            && is_part(tag, MAX_PART, ".-");
        valid.then(|| Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// Returns host, namespace, model and tag, the order of the manifest's path.
    pub fn parts(&self) -> [&str; 4] {
        [&self.host, &self.namespace, &self.model, &self.tag]
    }

    /// Returns the host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Returns the tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns whether the name gives no host, or the default one.
    pub fn has_default_host(&self) -> bool {
        self.host.eq_ignore_ascii_case(DEFAULT_HOST)
    }

    /// Returns whether both names mean one model: the parts are equal but for their case.
    pub fn same(&self, other: &Self) -> bool {
        self.parts().iter().zip(other.parts()).all(|(a, b)| a.eq_ignore_ascii_case(b))
    }

    /// Returns the whole name, defaults included.
    pub fn full(&self) -> String {
        format!("{}/{}/{}:{}", self.host, self.namespace, self.model, self.tag)
    }
}

impl fmt::Display for Name {
    /// Writes the shortest form that parses to this name, always with its tag.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_default_host() {
            write!(out, "{}/{}/", self.host, self.namespace)?;
        } else if !self.namespace.eq_ignore_ascii_case(DEFAULT_NAMESPACE) {
            write!(out, "{}/", self.namespace)?;
        }
        write!(out, "{}:{}", self.model, self.tag)
    }
}

/// Where a name asks its model to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locality {
    /// `:local` was appended: never in the cloud.
    Local,
    /// `:cloud` was appended, or the tag ends in `-cloud`.
    Cloud,
    /// Nothing was said.
    Unsaid,
}

/// Takes blanks and a `:local`, `:cloud` or `-cloud` ending from a name and says what the ending
/// asked for.
pub fn locality(text: &str) -> Result<(&str, Locality), NameError> {
    let text = text.trim();
    let Some((rest, locality)) = ending(text) else { return Ok((text, Locality::Unsaid)) };
    match ending(rest) {
        Some(_) => Err(NameError::Conflict(text.to_owned())),
        None => Ok((rest, locality)),
    }
}

fn ending(text: &str) -> Option<(&str, Locality)> {
    let (rest, tag) = text.rsplit_once(':')?;
    let folded = tag.to_ascii_lowercase();
    match folded.as_str() {
        "local" => Some((rest, Locality::Local)),
        "cloud" => Some((rest, Locality::Cloud)),
        _ if folded.ends_with("-cloud") && !folded.contains('/') => {
            Some((&text[..text.len() - "-cloud".len()], Locality::Cloud))
        }
        _ => None,
    }
}

/// Splits at the last slash; the left side is `None` when there is no slash.
fn split(text: &str) -> (Option<&str>, &str) {
    text.rsplit_once('/').map_or((None, text), |(left, right)| (Some(left), right))
}

fn is_part(text: &str, max: usize, marks: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= max
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || marks.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(text: &str, parts: [&str; 4]) {
        let name = Name::parse(text).unwrap_or_else(|_| panic!("{text:?} is valid"));
        assert_eq!(name.parts(), parts, "{text:?}");
        assert_eq!(Name::parse(&name.to_string()), Ok(name.clone()), "{text:?} displays as itself");
        assert_eq!(Name::parse(&name.full()), Ok(name), "{text:?} in full");
    }

    #[test]
    fn valid_names() {
        let (h, n, t) = (DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG);
        valid("all-minilm", [h, n, "all-minilm", t]);
        valid("m:t", [h, n, "m", "t"]);
        valid("n/m", [h, "n", "m", t]);
        valid("h/n/m:t", ["h", "n", "m", "t"]);
        valid("_why/_the/_lucky:_stiff", ["_why", "_the", "_lucky", "_stiff"]);
        valid("host:https/namespace/model:tag", ["host:https", "namespace", "model", "tag"]);
        valid("host:8080/n/m", ["host:8080", "n", "m", t]);
        valid("https://h/n/m:t", ["h", "n", "m", "t"]);
        valid("http://host:1/n/m", ["host:1", "n", "m", t]);
        valid("hf.co/BAAI/bge-m3:main", ["hf.co", "BAAI", "bge-m3", "main"]);
        valid("Qwen3.5:0.6B-q4_K_M", [h, n, "Qwen3.5", "0.6B-q4_K_M"]);
        let (host, part) = ("h".repeat(350), "a".repeat(80));
        let long = format!("{host}/{part}/{part}:{part}");
        valid(&long, [&host, &part, &part, &part]);
    }

    #[test]
    fn invalid_names() {
        let long_host = format!("{}/n/m:t", "h".repeat(351));
        let long = "a".repeat(81);
        let (long_namespace, long_tag) = (format!("{long}/m"), format!("m:{long}"));
        let rows = [
            "",
            "^",
            "mm:",
            ":",
            ":t",
            "x:",
            "/nn/mm",
            "//",
            "hh//",
            "//mm",
            "//mm:@",
            "nn//mm",
            "00@",
            "m@d",
            "x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "-hh/nn/mm:tt",
            "hh/-nn/mm:tt",
            "hh/nn/-mm:tt",
            "hh/nn/mm:-tt",
            ".hh/nn/mm",
            "host/name:space/model:tag",
            "host/name.space/model",
            "a/b/c/d",
            "http://host/model",
            "a b",
            " a",
            "../../etc/passwd",
            "h/../m",
            "m:..",
            "é",
            "m:t\n",
            "m:t\0",
            &long,
            &long_namespace,
            &long_tag,
            &long_host,
        ];
        for text in rows {
            assert_eq!(Name::parse(text), Err(NameError::Invalid), "{text:?}");
        }
        assert_eq!(NameError::Invalid.to_string(), "invalid model name");
    }

    #[test]
    fn parts_that_are_no_name() {
        for parts in
            [["..", "n", "m", "t"], ["h", "n", "..", "t"], ["h", "n", "m", ""], ["", "n", "m", "t"]]
        {
            assert_eq!(Name::from_parts(parts), None, "{parts:?}");
        }
    }

    #[test]
    fn shortest_form() {
        let rows = [
            ("registry.ollama.ai/library/model:latest", "model:latest"),
            ("Registry.Ollama.ai/Library/Model", "Model:latest"),
            ("registry.ollama.ai/namespace/model:tag", "namespace/model:tag"),
            ("host/library/model:tag", "host/library/model:tag"),
            ("hf.co/BAAI/bge-m3", "hf.co/BAAI/bge-m3:latest"),
        ];
        for (text, shortest) in rows {
            assert_eq!(Name::parse(text).unwrap().to_string(), shortest);
        }
    }

    #[test]
    fn case_is_kept_and_folded_in_comparisons() {
        let (a, b) = (Name::parse("Ns/M:T").unwrap(), Name::parse("nS/m:t").unwrap());
        assert!(a.same(&b) && a != b);
        assert!(!a.same(&Name::parse("ns/m").unwrap()));
    }

    #[test]
    fn localities() {
        let rows = [
            (" m ", Ok(("m", Locality::Unsaid))),
            ("m:local", Ok(("m", Locality::Local))),
            ("m:1b:LOCAL", Ok(("m:1b", Locality::Local))),
            ("m:cloud", Ok(("m", Locality::Cloud))),
            ("x:1b-cloud", Ok(("x:1b", Locality::Cloud))),
            ("x-cloud", Ok(("x-cloud", Locality::Unsaid))),
            ("h:1/n/x-cloud", Ok(("h:1/n/x-cloud", Locality::Unsaid))),
            ("", Ok(("", Locality::Unsaid))),
            ("foo:cloud:local", Err(NameError::Conflict("foo:cloud:local".to_owned()))),
            ("foo:1b-cloud:local", Err(NameError::Conflict("foo:1b-cloud:local".to_owned()))),
        ];
        for (text, expected) in rows {
            assert_eq!(locality(text), expected, "{text:?}");
        }
        assert_eq!(
            locality("foo:cloud:local").unwrap_err().to_string(),
            "use either :local or :cloud, not both: \"foo:cloud:local\""
        );
    }
}
