//! How is a known model written down? A key and a value on each line; `#` begins a comment line.
//!
//! - `about`, `license`, `architecture`, `size`: one line each, see `Known`
//! - `needs WHAT`: what it takes beside its architecture, such as `reranking`
//! - `alias NAME[:TAG]`: another short name; may repeat
//! - `source hf.co/OWNER/REPO[@REVISION]`, `source pip:PACKAGE==VERSION` or
//!   `source registry:HOST/NAMESPACE/MODEL:TAG`: the best place first
//! - `sha256 PATH HEX`: the digest of a file, where it is known
//! - `parameter KEY VALUE`: as in a Modelfile; quotes keep blanks, and `\n` is a newline

use super::{Known, MAIN_REVISION, Origin};
use crate::digest::Digest;
use crate::parameters::{self, Parameters};

/// Parses one entry; the error is the line that is wrong.
pub(super) fn parse(name: &'static str, text: &'static str) -> Result<Known, &'static str> {
    let mut known = Known {
        name,
        aliases: Vec::new(),
        sources: Vec::new(),
        digests: Vec::new(),
        license: "",
        architecture: "",
        needs: None,
        size: "",
        parameters: Parameters::new(),
        description: "",
    };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once(' ').ok_or(line)?;
        read(&mut known, key, value.trim()).ok_or(line)?;
    }
    Ok(known)
}

fn read(known: &mut Known, key: &str, value: &'static str) -> Option<()> {
    match key {
        "about" => known.description = value,
        "license" => known.license = value,
        "architecture" => known.architecture = value,
        "needs" => known.needs = Some(value),
        "size" => known.size = value,
        "alias" => known.aliases.push(value),
        "source" => known.sources.push(origin(value)?),
        "sha256" => {
            let (path, hex) = value.split_once(' ')?;
            known.digests.push((path.to_owned(), Digest::from_hex(hex)?));
        }
        "parameter" => {
            let (key, text) = value.split_once(' ')?;
            let bare =
                text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
            let typed = parameters::typed(key, &[bare.replace("\\n", "\n")]).ok()?;
            known.parameters.insert(key.to_owned(), typed);
        }
        _ => return None,
    }
    Some(())
}

fn origin(text: &str) -> Option<Origin> {
    if let Some(text) = text.strip_prefix("pip:") {
        let (package, version) = text.split_once("==")?;
        return Some(Origin::Pip { package: package.to_owned(), version: version.to_owned() });
    }
    if let Some(text) = text.strip_prefix("registry:") {
        let (host, rest) = text.split_once('/')?;
        let (repo, tag) = rest.split_once(':')?;
        let [host, repo, tag] = [host, repo, tag].map(str::to_owned);
        return Some(Origin::Registry { host, repo, tag });
    }
    let text = text.strip_prefix("hf.co/")?;
    let (repo, revision) = text.split_once('@').unwrap_or((text, MAIN_REVISION));
    let is_repo = repo.matches('/').count() == 1;
    is_repo.then(|| Origin::Hub { repo: repo.to_owned(), revision: revision.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let hub = |repo: &str, revision: &str| Origin::Hub {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
        };
        assert_eq!(origin("hf.co/a/b"), Some(hub("a/b", "main")));
        assert_eq!(origin("hf.co/a/b@v1"), Some(hub("a/b", "v1")));
        let pip = Origin::Pip { package: "p".to_owned(), version: "1.0".to_owned() };
        assert_eq!(origin("pip:p==1.0"), Some(pip));
        let [host, repo, tag] = ["r.example:5000", "a/b", "v1"].map(str::to_owned);
        let registry = Origin::Registry { host, repo, tag };
        assert_eq!(origin("registry:r.example:5000/a/b:v1"), Some(registry));
        for text in ["", "a/b", "hf.co/a", "hf.co/a/b/c", "pip:p", "registry:r/a"] {
            assert_eq!(origin(text), None, "{text:?}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        for line in [
            "word",
            "colour red",
            "source x",
            "sha256 f 12",
            "parameter foo 1",
            "parameter num_ctx x",
        ] {
            assert_eq!(parse("x", line), Err(line));
        }
        let known = parse("x", "# comment\n\nalias y\nparameter prompt \"a\\nb \"\n").unwrap();
        assert_eq!(known.aliases, ["y"]);
        assert_eq!(parameters::texts(&known.parameters["prompt"]), ["a\nb "]);
    }
}
