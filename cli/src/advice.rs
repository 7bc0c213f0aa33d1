//! What helps a person whose model was not found, or whose model hub does not answer.

use anyhow::Error;
use modelfiles::{Name, library, locality};

use crate::client::is_not_found;
use crate::failure::Failure;

const SPELLING: &str = "a model is a known short name (docs/models.md) or <owner>/<repository> of the Hugging Face hub";

const HUB: &str = "HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy; a registry, a folder, and a file of \
    'vecuna save' are other ways (docs/operations.md#without-a-network)";

const OFFLINE: &str =
    "HF_HUB_OFFLINE keeps the hub from being asked; unset it, or fill Hugging Face's cache";

const REGISTRY: &str = "it is no known short name, and the registry that names without a host mean does not answer; \
    VECUNA_REGISTRY names another one";

const FORM: &str = "a name with a host has exactly three parts: HOST/NAMESPACE/MODEL[:TAG]";

/// The namespace of names without one.
const LIBRARY: &str = "library";

/// Adds the advice that an error about this model calls for.
pub(crate) fn on(error: Error, model: &str) -> Error {
    let text = format!("{error:#}");
    match hint(&error, &text, model) {
        Some(hint) => Failure::new(text).hint(hint).into(),
        None => error,
    }
}

/// Adds the advice that a name which is none calls for.
pub(crate) fn on_form(error: Error, model: &str) -> Error {
    let text = format!("{error:#}");
    if is_malformed(&text, model) { Failure::new(text).hint(FORM).into() } else { error }
}

fn is_malformed(text: &str, model: &str) -> bool {
    let words = ["invalid model name", "is invalid", "unqualified name"];
    has_host(model) && words.iter().any(|words| text.contains(words))
}

fn hint(error: &Error, text: &str, model: &str) -> Option<String> {
    let name = parsed(model);
    // Who names a registry gets its own words.
    let is_elsewhere = name.as_ref().is_some_and(|name| !name.has_default_host());
    if text.contains("cannot be reached") {
        let is_registry = text.starts_with("registry '");
        let near =
            name.and_then(|name| nearest(&name)).map(|near| format!("did you mean '{near}'?"));
        return match text {
            _ if is_registry && is_elsewhere => None,
            _ if is_registry => near.or(Some(REGISTRY.to_owned())),
            _ if text.contains("HF_HUB_OFFLINE") => Some(OFFLINE.to_owned()),
            _ if text.contains("hub") => Some(HUB.to_owned()),
            _ => None,
        };
    }
    if is_malformed(text, model) {
        return Some(FORM.to_owned());
    }
    if is_not_found(error) {
        return Some(absent(model));
    }
    let is_nowhere = text.contains("file does not exist") && !is_elsewhere;
    let is_missing = is_nowhere || text.contains("the hub has no '");
    is_missing.then(|| format!("there is no '{model}'; {}", spelling(model)))
}

/// Tells whether the first part of a name looks like a host.
fn has_host(model: &str) -> bool {
    let first = model.split_once('/').map_or("", |(first, _)| first);
    first == "localhost" || first.contains(['.', ':'])
}

fn parsed(model: &str) -> Option<Name> {
    Name::parse(locality(model).ok()?.0).ok()
}

/// Says how a model gets onto this machine.
fn absent(model: &str) -> String {
    match parsed(model).and_then(|name| library::find(&name)) {
        Some(_) => format!("'vecuna pull {model}' fetches it"),
        None => spelling(model),
    }
}

fn spelling(model: &str) -> String {
    match parsed(model).and_then(|name| nearest(&name)) {
        Some(near) => format!("did you mean '{near}'?"),
        None => SPELLING.to_owned(),
    }
}

/// Finds the known model whose name differs in the fewest letters, if those are few.
fn nearest(name: &Name) -> Option<&'static str> {
    if !name.has_default_host() || name.namespace() != LIBRARY {
        return None;
    }
    let asked = name.model().to_lowercase();
    let far = asked.len() / 4 + 1;
    let names = library::all().iter().map(|known| (distance(&asked, known.name), known.name));
    names.filter(|(distance, _)| *distance <= far).min().map(|(_, name)| name)
}

/// Counts the letters that have to be added, dropped or replaced to make one text of the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (n, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], n + 1);
        for (m, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[m + 1];
            row[m + 1] = replaced.min(row[m] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (from, to, want) in
            [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("bge-m3", "bge-m3", 0)]
        {
            assert_eq!(distance(from, to), want, "{from} {to}");
        }
    }

    #[test]
    fn a_misspelt_name_is_put_right() {
        for (model, want) in [
            ("all-minlm", "did you mean 'all-minilm'?"),
            ("All-MiniML:latest", "did you mean 'all-minilm'?"),
            ("bge-m4", "did you mean 'bge-m3'?"),
            ("nope", SPELLING),
            ("me/all-minlm", SPELLING),
            ("a//b", SPELLING),
        ] {
            assert_eq!(spelling(model), want, "{model}");
        }
    }

    #[test]
    fn a_known_model_only_has_to_be_fetched() {
        assert_eq!(absent("bge-m3:latest"), "'vecuna pull bge-m3:latest' fetches it");
        assert_eq!(absent("nope"), SPELLING);
    }

    #[test]
    fn the_advice_suits_the_error() {
        let hint = |text: &str| {
            let error = on(anyhow::anyhow!("{text}"), "nope");
            assert_eq!(error.to_string(), text);
            error.downcast_ref::<Failure>().map(|failure| format!("{failure:?}"))
        };
        let missing = hint("pull model manifest: file does not exist").expect("advice");
        assert!(missing.contains("there is no 'nope'; a model is"), "{missing}");
        let unreachable = hint("the hub cannot be reached: x").expect("advice");
        assert!(unreachable.contains("HF_ENDPOINT"), "{unreachable}");
        assert_eq!(hint("disk full"), None);
        let offline = hint("the hub cannot be reached: HF_HUB_OFFLINE is set").expect("advice");
        assert!(offline.contains("unset it"), "{offline}");
        let refused = on(anyhow::anyhow!("invalid model name"), "localhost:5000/m");
        let refused = format!("{:?}", refused.downcast_ref::<Failure>().expect("advice"));
        assert!(refused.contains("HOST/NAMESPACE/MODEL"), "{refused}");
    }
}
