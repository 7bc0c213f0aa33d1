//! What does the machine around us say before any setting does?

use std::path::{Path, PathBuf};

use directories::{BaseDirs, ProjectDirs};

use super::within;

/// The store of a user without a home.
const MODELS_OF_THE_MACHINE: &str = "/var/lib/vecuna/models";
/// The store of Ollama's own service.
const OLLAMA_OF_THE_MACHINE: &str = "/usr/share/ollama/.ollama/models";

/// The variables, the folders of the user, and a way to read small files.
pub struct Surroundings<'a> {
    /// Returns the value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Returns the text of a file.
    pub read: &'a dyn Fn(&Path) -> Option<String>,
    /// The folder for our data, if the user has a home.
    pub data: Option<PathBuf>,
    /// The folder for our configuration, if the user has a home.
    pub config: Option<PathBuf>,
    /// The home of the user.
    pub home: Option<PathBuf>,
}

impl Surroundings<'static> {
    /// Returns the surroundings of this process.
    pub fn of_process() -> Self {
        let project = ProjectDirs::from("", "", "vecuna");
        Self {
            variable: &environment_variable,
            read: &|path| std::fs::read_to_string(path).ok(),
            data: project.as_ref().map(|project| project.data_dir().to_owned()),
            config: project.as_ref().map(|project| project.config_dir().to_owned()),
            home: BaseDirs::new().map(|base| base.home_dir().to_owned()),
        }
    }
}

impl<'a> Surroundings<'a> {
    /// Returns surroundings that have variables and nothing else.
    pub fn of_variables(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, read: &|_| None, data: None, config: None, home: None }
    }

    /// Returns where the store stands when no setting says it.
    pub(super) fn models(&self) -> PathBuf {
        // systemd separates several folders with a colon; the first is ours.
        let state = (self.variable)("STATE_DIRECTORY").filter(|folders| !folders.is_empty());
        let state = state.map(|folders| PathBuf::from(folders.split(':').next().unwrap_or("")));
        within(state.as_deref(), "models")
            .or_else(|| within(self.data.as_deref(), "models"))
            .unwrap_or_else(|| PathBuf::from(MODELS_OF_THE_MACHINE))
    }

    /// Returns the stores of Ollama, the one that a variable names or those where it looks by itself, but not our own.
    pub(super) fn stores_beside(&self, models: &Path, named: Option<String>) -> Vec<PathBuf> {
        let usual = || {
            let of_user = within(self.home.as_deref(), ".ollama/models");
            of_user.into_iter().chain([PathBuf::from(OLLAMA_OF_THE_MACHINE)]).collect()
        };
        let stores = named.map_or_else(usual, |named| vec![PathBuf::from(named)]);
        stores.into_iter().filter(|store| store != models).collect()
    }

    /// Returns the configuration file of the user.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        within(self.config.as_deref(), "config.toml")
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
