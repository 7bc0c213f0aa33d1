//! Which sources may have the model of a name?

use modelfiles::library::{self, HUB_HOSTS, MAIN_REVISION};
use modelfiles::{Known, Name, Origin};

use crate::error::{Error, Result};

/// Where to look for a model, in order, and what is known about it.
pub(super) struct Plan {
    pub(super) origins: Vec<Origin>,
    pub(super) known: Option<Known>,
}

/// Returns where to look for a model.
pub(super) fn plan(name: &Name) -> Result<Plan> {
    if let Some(known) = library::find(name) {
        return Ok(Plan { origins: known.sources.clone(), known: Some(known) });
    }
    let is_hub = HUB_HOSTS.iter().any(|host| name.host().eq_ignore_ascii_case(host));
    let is_short = name.has_default_host() && name.namespace() != "library";
    if !is_hub && !is_short {
        return Err(Error::Unknown(name.clone()));
    }
    let repo = format!("{}/{}", name.namespace(), name.model());
    let revision = if name.tag() == "latest" { MAIN_REVISION } else { name.tag() }.to_owned();
    Ok(Plan { origins: vec![Origin::Hub { repo, revision }], known: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, want: Option<(&str, &str)>) {
        let plan = plan(&Name::parse(name).unwrap());
        match (plan, want) {
            (Ok(plan), Some((want_repo, want_revision))) => match &plan.origins[..] {
                [Origin::Hub { repo, revision }] => {
                    assert_eq!((repo.as_str(), revision.as_str()), (want_repo, want_revision));
                }
                _ => panic!("{name}"),
            },
            (Err(Error::Unknown(_)), None) => {}
            _ => panic!("{name}"),
        }
    }

    #[test]
    fn names_of_the_hub() {
        check("hf.co/some/Repo.x", Some(("some/Repo.x", "main")));
        check("huggingface.co/some/repo:v1.5", Some(("some/repo", "v1.5")));
        check("some/repo", Some(("some/repo", "main")));
        check("no-such-model", None);
        check("example.org/some/repo", None);
    }
}
