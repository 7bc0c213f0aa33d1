//! How are registries reached, and by whom?

use std::path::PathBuf;

use modelfiles::name::DEFAULT_HOST;

use super::settings::Settings;
use super::{Surroundings, values, within};

/// The registries of Ollama's and OCI's protocol, with the variables that other tools use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// The registry that names without a host mean; `None` is none.
    pub default: Option<String>,
    /// Hosts that may be spoken to without encryption, `*` for all.
    pub insecure: Vec<String>,
    /// A file with certificates that vouch for servers.
    pub certificates: Option<PathBuf>,
    /// Where docker and podman may have written the user's logins, the first that knows a host counts.
    pub credentials: Vec<PathBuf>,
}

impl Registries {
    /// Reads the settings; no file is opened.
    pub(super) fn load(settings: &Settings<'_>, surroundings: &Surroundings<'_>) -> Self {
        let default = settings.text("VECUNA_REGISTRY").unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let is_off = ["off", "none"].iter().any(|word| default.eq_ignore_ascii_case(word));
        let insecure = settings.text("VECUNA_INSECURE").unwrap_or_default();
        Self {
            default: (!is_off).then(|| host(&default)),
            insecure: values::list(&insecure).iter().map(|entry| host(entry)).collect(),
            certificates: settings.text("SSL_CERT_FILE").map(PathBuf::from),
            credentials: credentials(settings, surroundings),
        }
    }
}

/// Takes the scheme and a slash at the end from what should be a host.
fn host(text: &str) -> String {
    let host = text.split_once("://").map_or(text, |(_, host)| host);
    host.trim_end_matches('/').to_owned()
}

fn credentials(settings: &Settings<'_>, surroundings: &Surroundings<'_>) -> Vec<PathBuf> {
    let home = surroundings.home.as_deref();
    let folder = |name| settings.text(name).map(PathBuf::from);
    let docker = folder("DOCKER_CONFIG").or_else(|| within(home, ".docker"));
    let runtime = folder("XDG_RUNTIME_DIR");
    let config = folder("XDG_CONFIG_HOME").or_else(|| within(home, ".config"));
    let files = [
        folder("REGISTRY_AUTH_FILE"),
        within(docker.as_deref(), "config.json"),
        within(runtime.as_deref(), "containers/auth.json"),
        within(config.as_deref(), "containers/auth.json"),
    ];
    files.into_iter().flatten().collect()
}
