//! How is the Hugging Face hub reached?

use std::fmt;
use std::path::PathBuf;

use super::settings::Settings;
use super::{Surroundings, within};

/// The address and the access of the hub, from the variables that Hugging Face's tools use.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hub {
    /// The address of a mirror; `None` is the hub itself.
    pub endpoint: Option<String>,
    /// The access token.
    pub token: Option<String>,
    /// Whether the hub must not be asked.
    pub offline: bool,
    /// The folder in which Hugging Face's tools keep repositories.
    pub cache: Option<PathBuf>,
}

impl Hub {
    /// Reads the hub's settings, and the token file when no variable holds the token.
    pub(super) fn load(settings: &Settings<'_>, surroundings: &Surroundings<'_>) -> Self {
        let endpoint = settings.text("HF_ENDPOINT");
        Self {
            endpoint: endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            token: token(settings, surroundings),
            offline: is_on(settings, "HF_HUB_OFFLINE"),
            cache: cache(settings, surroundings),
        }
    }
}

impl fmt::Debug for Hub {
    /// Shows everything but the token, which must never reach a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "(hidden)");
        let Self { endpoint, offline, cache, .. } = self;
        let mut out = formatter.debug_struct("Hub");
        out.field("endpoint", endpoint).field("token", &token).field("offline", offline);
        out.field("cache", cache).finish()
    }
}

fn token(settings: &Settings<'_>, surroundings: &Surroundings<'_>) -> Option<String> {
    if is_on(settings, "HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    settings.text("HF_TOKEN").or_else(|| {
        let text = (surroundings.read)(&token_file(settings, surroundings)?)?;
        let token = text.trim();
        (!token.is_empty()).then(|| token.to_owned())
    })
}

fn token_file(settings: &Settings<'_>, surroundings: &Surroundings<'_>) -> Option<PathBuf> {
    if let Some(path) = settings.text("HF_TOKEN_PATH") {
        return Some(PathBuf::from(path));
    }
    within(home(settings, surroundings).as_deref(), "token")
}

fn cache(settings: &Settings<'_>, surroundings: &Surroundings<'_>) -> Option<PathBuf> {
    let named = settings.text("HF_HUB_CACHE").map(PathBuf::from);
    named.or_else(|| within(home(settings, surroundings).as_deref(), "hub"))
}

/// Returns the folder of Hugging Face's tools.
fn home(settings: &Settings<'_>, surroundings: &Surroundings<'_>) -> Option<PathBuf> {
    let cache = || {
        let named = settings.text("XDG_CACHE_HOME").map(PathBuf::from);
        named.or_else(|| within(surroundings.home.as_deref(), ".cache"))
    };
    let home = settings.text("HF_HOME").map(PathBuf::from);
    home.or_else(|| within(cache().as_deref(), "huggingface"))
}

/// Reads a switch as Hugging Face does, where only these words are on.
fn is_on(settings: &Settings<'_>, name: &'static str) -> bool {
    let text = settings.text(name).unwrap_or_default().to_ascii_uppercase();
    matches!(text.as_str(), "1" | "ON" | "YES" | "TRUE")
}
