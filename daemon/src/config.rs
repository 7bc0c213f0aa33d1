//! What did the person who started us ask for?
//!
//! A setting comes from its `VECUNA_` variable, else Ollama's variable of the same name, else the
//! configuration file, else its default. All of them stand in [`variables`].

mod file;
mod host;
mod hub;
mod memory;
mod registries;
mod settings;
mod sources;
mod surroundings;
mod values;
mod variables;

use std::path::{Path, PathBuf};
use std::{sync::Arc, time::Duration};

use modelfiles::duration::KeepAlive;

pub use host::Host;
pub use hub::Hub;
pub use memory::MemoryBudget;
pub use registries::Registries;
use settings::Settings;
pub use surroundings::Surroundings;
pub use variables::{Variable, help, variables};

/// Ollama's own limit of waiting requests.
const MAX_QUEUE: u64 = 512;
/// About a minute's work for two cores, and a few megabytes.
const MAX_QUEUE_TOKENS: u64 = 1 << 20;
/// Ollama's own limit of loaded models on a machine without a GPU.
const MAX_LOADED_MODELS: u64 = 3;
/// Holds ten thousand long documents in one batch and still bounds a hostile client.
const MAX_BODY_MIB: u64 = 128;
/// What Ollama waits before it unloads a model or gives up loading one.
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("configuration file '{}': {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration file is not TOML.
    #[error("configuration file: {0}")]
    Syntax(String),
    /// The configuration file names a setting that does not exist.
    #[error("configuration file: unknown setting '{0}'")]
    UnknownKey(String),
    /// The configuration file gives a setting something that is no text, number, boolean or list.
    #[error(
        "configuration file: setting '{0}' must be a text, a number, a boolean or a list of texts"
    )]
    Shape(String),
}

/// Everything that can be set, read once at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the service listens, and where a client looks for it.
    pub host: Host,
    /// Whether a variable named the host, so that a client must not work without it.
    pub host_was_set: bool,
    /// The root of the model store.
    pub models: PathBuf,
    /// Other stores, which files are taken from and nothing is written to.
    pub stores: Vec<PathBuf>,
    /// Stores whose models can be used too, and are never changed.
    pub shared_models: Vec<PathBuf>,
    /// How long a model stays loaded after its last request.
    pub keep_alive: KeepAlive,
    /// How long loading a model may take; `None` is without limit.
    pub load_timeout: Option<Duration>,
    /// How many models may be loaded at once.
    pub max_loaded_models: usize,
    /// How many requests may wait.
    pub max_queue: usize,
    /// How many tokens may wait for one model.
    pub max_queue_tokens: usize,
    /// How much memory all loaded models may use together.
    pub memory: MemoryBudget,
    /// The number of tokens a text may have when neither request nor model says it.
    pub context_length: Option<usize>,
    /// Further browser origins that may call us, as written.
    pub origins: Vec<String>,
    /// Whether blobs that no model uses are kept.
    pub noprune: bool,
    /// How many threads compute; `None` is as many as there are cores.
    pub threads: Option<usize>,
    /// The instruction set to compute with; `None` is the best.
    pub isa: Option<engine::Isa>,
    /// The level of the log.
    pub log_level: tracing::Level,
    /// The largest request body, uploads of blobs excepted.
    pub max_body_bytes: usize,
    /// How the Hugging Face hub is reached.
    pub hub: Hub,
    /// How registries are reached.
    pub registries: Registries,
    /// The command that runs pip, when the one in the search path will not do.
    pub pip: Option<String>,
    /// Bytes per second of all pulls and pushes together.
    pub pull_rate: Option<u64>,
    /// Bytes of the largest model that is pulled.
    pub pull_limit: Option<u64>,
    /// Where systemd wants to be told that requests are taken.
    pub notify_socket: Option<String>,
    /// What could not be understood and was replaced by its default, for the log.
    pub warnings: Vec<String>,
}

/// More threads than any machine has cores are a mistake.
const MOST_THREADS: u64 = 1024;

impl Config {
    /// Reads the process environment and the configuration file.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let surroundings = Surroundings::of_process();
        let text = file::read(&surroundings)?;
        Self::load_from(&surroundings, text.as_deref())
    }

    /// Reads settings from these variables alone: no file, no folder of this user.
    pub fn load(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::load_from(&Surroundings::of_variables(variable), None)
    }

    /// Reads settings from these surroundings and the text of a configuration file.
    pub fn load_from(
        surroundings: &Surroundings<'_>,
        file: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Settings::new(surroundings.variable, file.unwrap_or_default())?;
        let s = &mut settings;
        let models = s.text("VECUNA_MODELS").map_or_else(|| surroundings.models(), PathBuf::from);
        Ok(Self {
            host: host(s),
            host_was_set: s.is_in_environment("VECUNA_HOST"),
            stores: surroundings.stores_beside(&models, s.text("OLLAMA_MODELS")),
            models,
            shared_models: s.text("VECUNA_SHARED_MODELS").map_or_else(Vec::new, |t| folders(&t)),
            keep_alive: s
                .parse("VECUNA_KEEP_ALIVE", KeepAlive::from_variable)
                .unwrap_or(KeepAlive::For(FIVE_MINUTES)),
            load_timeout: s
                .parse("VECUNA_LOAD_TIMEOUT", values::patience)
                .unwrap_or(Some(FIVE_MINUTES)),
            max_loaded_models: models_at_once(s),
            max_queue: size(s.parse("VECUNA_MAX_QUEUE", values::natural).unwrap_or(MAX_QUEUE)),
            max_queue_tokens: size(
                s.parse("VECUNA_MAX_QUEUE_TOKENS", values::natural).unwrap_or(MAX_QUEUE_TOKENS),
            ),
            memory: s.parse("VECUNA_MEMORY", MemoryBudget::parse).unwrap_or_default(),
            context_length: context_length(s),
            origins: s.text("VECUNA_ORIGINS").map_or_else(Vec::new, |text| values::list(&text)),
            noprune: s.flag("VECUNA_NOPRUNE"),
            threads: s
                .parse("VECUNA_THREADS", values::natural)
                .filter(|n| (1..=MOST_THREADS).contains(n))
                .map(size),
            isa: s.parse("VECUNA_ISA", engine::Isa::named),
            log_level: s.text("VECUNA_DEBUG").map_or(tracing::Level::INFO, |t| values::level(&t)),
            max_body_bytes: size(
                s.parse("VECUNA_MAX_BODY", memory::size).unwrap_or(MAX_BODY_MIB << 20),
            ),
            hub: Hub::load(s, surroundings),
            registries: Registries::load(s, surroundings),
            pip: s.text("VECUNA_PIP"),
            pull_rate: s.parse("VECUNA_PULL_RATE", memory::size),
            pull_limit: s.parse("VECUNA_PULL_LIMIT", memory::size),
            notify_socket: (surroundings.variable)("NOTIFY_SOCKET"),
            warnings: settings.into_warnings(),
        })
    }
}

impl Config {
    /// Starts the threads that all models share.
    pub(crate) fn processor(&self) -> engine::Processor {
        let isa = self.isa.unwrap_or_else(engine::Isa::best);
        let threads = self.threads.map_or_else(engine::Threads::default, engine::Threads::new);
        engine::Processor {
            arithmetic: engine::Arithmetic::Kernels(isa),
            threads: Arc::new(threads),
        }
    }
}

/// Reads the address; a port that is none is replaced by the default, as Ollama does.
fn host(settings: &mut Settings<'_>) -> Host {
    let (host, warning) = Host::parse(&settings.text("VECUNA_HOST").unwrap_or_default());
    if let Some(warning) = warning {
        settings.warn("VECUNA_HOST", &warning);
    }
    host
}

/// Reads the names of folders; a list in the file has become a text with commas.
fn folders(text: &str) -> Vec<PathBuf> {
    text.split([':', ',']).map(str::trim).filter(|f| !f.is_empty()).map(PathBuf::from).collect()
}

/// Reads the number of models at once; 0 asks for the default, as in Ollama.
fn models_at_once(settings: &mut Settings<'_>) -> usize {
    let wanted = settings.parse("VECUNA_MAX_LOADED_MODELS", values::natural);
    size(wanted.filter(|&models| models > 0).unwrap_or(MAX_LOADED_MODELS))
}

/// Reads the default number of tokens; 0 leaves it to the model, as in Ollama.
fn context_length(settings: &mut Settings<'_>) -> Option<usize> {
    let wanted = settings.parse("VECUNA_CONTEXT_LENGTH", values::natural);
    wanted.filter(|&tokens| tokens > 0).map(size)
}

/// Fits a number into this machine's word.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Returns the file named `name` in `folder`, unless the folder is unknown.
fn within(folder: Option<&Path>, name: &str) -> Option<PathBuf> {
    folder.map(|folder| folder.join(name))
}

#[cfg(test)]
mod tests;
