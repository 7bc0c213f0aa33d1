//! How is a Modelfile written? One instruction a line, quoted only where a reader would need it.

use std::borrow::Cow;
use std::fmt;

use super::Modelfile;

impl fmt::Display for Modelfile {
    /// Writes Ollama's order and quotes.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut from = self.from.iter();
        lines(out, "FROM", from.next())?;
        lines(out, "ADAPTER", &self.adapters)?;
        lines(out, "FROM", from)?;
        lines(out, "DRAFT", &self.drafts)?;
        lines(out, "TEMPLATE", &self.template)?;
        lines(out, "SYSTEM", &self.system)?;
        lines(out, "RENDERER", &self.renderer)?;
        lines(out, "PARSER", &self.parser)?;
        lines(out, "REQUIRES", &self.requires)?;
        for (key, text) in &self.parameters {
            writeln!(out, "PARAMETER {key} {}", quote(text))?;
        }
        lines(out, "LICENSE", &self.licenses)?;
        for (role, text) in &self.messages {
            writeln!(out, "MESSAGE {role} {}", quote(text))?;
        }
        Ok(())
    }
}

fn lines<'a>(
    out: &mut fmt::Formatter<'_>,
    word: &str,
    values: impl IntoIterator<Item = &'a String>,
) -> fmt::Result {
    values.into_iter().try_for_each(|value| writeln!(out, "{word} {}", quote(value)))
}

/// Quotes a value that would be read back differently without.
///
/// Ollama quotes what has a newline or a blank at an end. Where that is not enough – a tab at an
/// end, a quote at the start – it writes what it cannot read; we quote. Only `"""` at the end of a
/// line inside a text has no form at all.
fn quote(value: &str) -> Cow<'_, str> {
    let is_plain =
        !value.contains(['\n', '\r']) && value.trim() == value && !value.starts_with('"');
    match value.contains('"') {
        _ if is_plain => Cow::Borrowed(value),
        true => format!("\"\"\"{value}\"\"\"").into(),
        false => format!("\"{value}\"").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        let rows = [
            ("plain", "plain"),
            ("", ""),
            ("with \"quotes\" inside", "with \"quotes\" inside"),
            ("'single'", "'single'"),
            ("a\nb", "\"a\nb\""),
            (" a", "\" a\""),
            ("query: ", "\"query: \""),
            ("say \"a\"\nb", "\"\"\"say \"a\"\nb\"\"\""),
            ("\"a\" and \"b\"", "\"\"\"\"a\" and \"b\"\"\"\""),
            ("\ta", "\"\ta\""),
        ];
        for (value, expected) in rows {
            assert_eq!(quote(value), expected);
        }
    }

    #[test]
    fn order_and_form() {
        let text = |text: &str| text.to_owned();
        let modelfile = Modelfile {
            from: vec![text("/blobs/sha256-1"), text("/blobs/sha256-2")],
            adapters: vec![text("/blobs/sha256-3")],
            drafts: Vec::new(),
            parameters: vec![
                (text("num_ctx"), text("256")),
                (text("query_prompt"), text("query: ")),
            ],
            template: Some(text("{{ .Prompt }}")),
            system: Some(text("be brief\n")),
            licenses: vec![text("MIT\n\"as is\"\n")],
            messages: vec![(text("user"), text("hi")), (text("assistant"), text("ho"))],
            renderer: Some(text("r")),
            parser: Some(text("p")),
            requires: Some(text("0.14.0")),
        };
        let expected = "FROM /blobs/sha256-1\nADAPTER /blobs/sha256-3\nFROM /blobs/sha256-2\n\
            TEMPLATE {{ .Prompt }}\nSYSTEM \"be brief\n\"\nRENDERER r\nPARSER p\nREQUIRES 0.14.0\n\
            PARAMETER num_ctx 256\nPARAMETER query_prompt \"query: \"\n\
            LICENSE \"\"\"MIT\n\"as is\"\n\"\"\"\nMESSAGE user hi\nMESSAGE assistant ho\n";
        assert_eq!(modelfile.to_string(), expected);
        assert_eq!(Modelfile::parse(expected.as_bytes()), Ok(modelfile));
    }

    /// Every mix of the characters that matter, up to five of them, comes back as it was.
    #[test]
    fn values_come_back() {
        let letters = ['a', ' ', '"', '\n', '\t', '\'', '#'];
        for index in 0..letters.len().pow(5) {
            let value: String = (0..5)
                .map(|place| letters[index / letters.len().pow(place) % letters.len()])
                .collect();
            for value in [value.as_str(), &value[..3]] {
                if value.contains("\"\"\"") {
                    continue;
                }
                let modelfile = Modelfile {
                    from: vec![value.to_owned(), value.to_owned()],
                    system: Some(value.to_owned()),
                    parameters: vec![("prompt".to_owned(), value.to_owned())],
                    messages: vec![("user".to_owned(), value.to_owned())],
                    ..Modelfile::default()
                };
                assert_eq!(
                    Modelfile::parse(modelfile.to_string().as_bytes()),
                    Ok(modelfile),
                    "{value:?}"
                );
            }
        }
    }
}
