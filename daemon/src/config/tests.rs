//! Does each setting mean what the manual says, wherever it comes from?

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use modelfiles::duration::KeepAlive;
use tracing::Level;

use super::{Config, ConfigError, MemoryBudget, Surroundings, variables};

/// Loads the settings from variables.
fn load(pairs: &[(&str, &str)]) -> Config {
    with_file(pairs, "").unwrap()
}

/// Loads the settings from variables and the text of a configuration file.
fn with_file(pairs: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
    let map: HashMap<String, String> =
        pairs.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
    let variable = |name: &str| map.get(name).cloned();
    let read =
        |path: &Path| (path == Path::new("/h/.cache/huggingface/token")).then(|| "hf_1\n".into());
    let surroundings = Surroundings {
        read: &read,
        data: Some(PathBuf::from("/h/data")),
        home: Some(PathBuf::from("/h")),
        ..Surroundings::of_variables(&variable)
    };
    Config::load_from(&surroundings, Some(file))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_defaults_are_those_of_ollama() {
    let config = Config::load(&|_| None).unwrap();
    assert_eq!(config.host.url(), "http://127.0.0.1:11434");
    assert!(!config.host_was_set);
    assert_eq!(config.models, Path::new("/var/lib/vecuna/models"));
    assert_eq!(config.keep_alive, KeepAlive::For(seconds(300)));
    assert_eq!(config.load_timeout, Some(seconds(300)));
    assert_eq!((config.max_loaded_models, config.max_queue), (3, 512));
    assert_eq!(config.memory, MemoryBudget::Percent(80));
    assert_eq!((config.context_length, config.noprune), (None, false));
    assert_eq!((config.log_level, config.max_body_bytes), (Level::INFO, 128 << 20));
    assert!(config.origins.is_empty() && config.warnings.is_empty() && config.hub.token.is_none());
}

#[test]
fn our_variable_comes_first_then_ollamas_then_the_file() {
    let file = "max_queue = 3\nmemory = \"1GiB\"\norigins = [\"http://a\", \"b://*\"]\n";
    let both = [("VECUNA_MAX_QUEUE", "1"), ("OLLAMA_MAX_QUEUE", "2")];
    assert_eq!(with_file(&both, file).unwrap().max_queue, 1);
    assert_eq!(with_file(&both[1..], file).unwrap().max_queue, 2);
    let config = with_file(&[], file).unwrap();
    assert_eq!((config.max_queue, config.memory), (3, MemoryBudget::Bytes(1 << 30)));
    assert_eq!(config.origins, ["http://a", "b://*"]);
}

#[test]
fn blanks_and_quotes_around_a_value_are_dropped_and_nothing_is_not_set() {
    for text in ["1.2.3.4", " 1.2.3.4 ", "\"1.2.3.4\"", "  \" 1.2.3.4 \"  ", "'1.2.3.4'"] {
        assert_eq!(load(&[("OLLAMA_HOST", text)]).host.authority(), "1.2.3.4:11434", "{text}");
    }
    let blank = load(&[("VECUNA_HOST", " "), ("OLLAMA_HOST", "h:1")]);
    assert_eq!((blank.host.authority().as_str(), blank.host_was_set), ("h:1", true));
}

#[test]
fn keep_alive_is_read_as_ollama_reads_it() {
    let five = KeepAlive::For(seconds(300));
    let table = [
        ("1h2m3s", KeepAlive::For(seconds(3723))),
        ("1s", KeepAlive::For(seconds(1))),
        ("0", KeepAlive::For(seconds(0))),
        ("60", KeepAlive::For(seconds(60))),
        ("-0", KeepAlive::For(seconds(0))),
        ("-1", KeepAlive::Forever),
        ("-1m", KeepAlive::Forever),
        (" ", five),
        ("???", five),
        ("1d", five),
        ("1y", five),
        ("1w", five),
    ];
    for (text, value) in table {
        assert_eq!(load(&[("OLLAMA_KEEP_ALIVE", text)]).keep_alive, value, "{text:?}");
    }
}

#[test]
fn load_timeout_has_no_limit_at_zero_and_below() {
    let table = [("60", Some(60)), ("1h", Some(3600)), ("0", None), ("-0", None), ("-1", None)];
    let further = [("-1m", None), ("1d", Some(300)), ("???", Some(300)), ("", Some(300))];
    for (text, value) in table.into_iter().chain(further) {
        let read = load(&[("OLLAMA_LOAD_TIMEOUT", text)]).load_timeout;
        assert_eq!(read, value.map(seconds), "{text:?}");
    }
}

#[test]
fn numbers_are_decimal_and_warned_about() {
    for text in ["-1", "0o10", "0x10", "string", "+1", "99999999999999999999"] {
        let config = load(&[("OLLAMA_MAX_QUEUE", text)]);
        assert_eq!(config.max_queue, 512, "{text}");
        let warning = format!("OLLAMA_MAX_QUEUE: cannot use '{text}', taking 512");
        assert_eq!(config.warnings, [warning]);
    }
    assert_eq!(load(&[("VECUNA_MAX_LOADED_MODELS", "0")]).max_loaded_models, 3);
    assert_eq!(load(&[("VECUNA_CONTEXT_LENGTH", "0")]).context_length, None);
    assert_eq!(load(&[("VECUNA_CONTEXT_LENGTH", "8192")]).context_length, Some(8192));
    assert_eq!(load(&[("VECUNA_MAX_BODY", "1MiB")]).max_body_bytes, 1 << 20);
}

#[test]
fn any_text_that_is_not_false_is_true() {
    let table = [("true", true), ("1", true), ("random", true), ("something", true)];
    for (text, value) in table.into_iter().chain([("false", false), ("0", false), ("", false)]) {
        assert_eq!(load(&[("OLLAMA_NOPRUNE", text)]).noprune, value, "{text}");
    }
}

#[test]
fn debug_is_a_level() {
    let table = [
        ("", Level::INFO),
        ("false", Level::INFO),
        ("0", Level::INFO),
        ("true", Level::DEBUG),
        ("1", Level::DEBUG),
        ("2", Level::TRACE),
        ("-1", Level::WARN),
        ("-2", Level::ERROR),
    ];
    for (text, level) in table {
        assert_eq!(load(&[("OLLAMA_DEBUG", text)]).log_level, level, "{text}");
    }
}

#[test]
fn the_store_stands_where_it_is_told_else_with_systemd_else_with_the_user() {
    let state = ("STATE_DIRECTORY", "/s/vecuna:/s/other");
    let named = load(&[("OLLAMA_MODELS", "/m"), state]);
    assert_eq!(named.models, Path::new("/m"));
    assert_eq!(load(&[state]).models, Path::new("/s/vecuna/models"));
    assert_eq!(load(&[]).models, Path::new("/h/data/models"));
}

#[test]
fn shared_stores_are_a_list_of_folders() {
    let shared = |text: &str| load(&[("VECUNA_SHARED_MODELS", text)]).shared_models;
    assert_eq!(load(&[]).shared_models, [""; 0].map(PathBuf::from));
    assert_eq!(shared("/a"), ["/a"].map(PathBuf::from));
    // A list in the file becomes a text with commas.
    assert_eq!(shared(":/a: /b c,/d:"), ["/a", "/b c", "/d"].map(PathBuf::from));
}

#[test]
fn the_hub_is_reached_as_hugging_face_says() {
    let hub = load(&[("HF_ENDPOINT", "http://mirror/"), ("HF_TOKEN", "hf_2")]).hub;
    assert_eq!(hub.endpoint.as_deref(), Some("http://mirror"));
    assert_eq!(hub.token.as_deref(), Some("hf_2"));
    assert!(!format!("{hub:?}").contains("hf_2"));
    assert_eq!(load(&[]).hub.token.as_deref(), Some("hf_1"));
    assert_eq!(load(&[("HF_HOME", "/elsewhere")]).hub.token, None);
    assert_eq!(load(&[("HF_TOKEN_PATH", "/elsewhere")]).hub.token, None);
    assert_eq!(load(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).hub.token, None);
    assert!(load(&[("HF_HUB_OFFLINE", "yes")]).hub.offline);
}

#[test]
fn files_may_come_from_hugging_faces_cache_and_ollamas_store() {
    let cache = |pairs: &[_]| load(pairs).hub.cache.unwrap().display().to_string();
    assert_eq!(cache(&[]), "/h/.cache/huggingface/hub");
    assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
    assert_eq!(cache(&[("HF_HOME", "/e")]), "/e/hub");
    assert_eq!(cache(&[("HF_HOME", "/e"), ("HF_HUB_CACHE", "/c")]), "/c");
    let machine = "/usr/share/ollama/.ollama/models";
    let stores = |pairs: &[_]| {
        let stores = load(pairs).stores;
        stores.iter().map(|store| store.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(stores(&[]), ["/h/.ollama/models", machine]);
    assert_eq!(stores(&[("VECUNA_MODELS", machine)]), ["/h/.ollama/models"]);
    assert_eq!(stores(&[("OLLAMA_MODELS", "/o")]), [""; 0], "it is our own");
    assert_eq!(stores(&[("OLLAMA_MODELS", "/o"), ("VECUNA_MODELS", "/m")]), ["/o"]);
}

#[test]
fn registries_are_reached_as_other_tools_say() {
    let registries = load(&[]).registries;
    assert_eq!(registries.default.as_deref(), Some("registry.ollama.ai"));
    let files = ["/h/.docker/config.json", "/h/.config/containers/auth.json"];
    assert_eq!(registries.credentials, files.map(PathBuf::from));
    assert!(registries.insecure.is_empty() && registries.certificates.is_none());
    let registries = load(&[
        ("VECUNA_REGISTRY", "https://r.example:5000/"),
        ("VECUNA_INSECURE", "a, http://b:1"),
        ("SSL_CERT_FILE", "/c.pem"),
        ("REGISTRY_AUTH_FILE", "/a.json"),
        ("DOCKER_CONFIG", "/d"),
        ("XDG_RUNTIME_DIR", "/r"),
        ("XDG_CONFIG_HOME", "/x"),
    ])
    .registries;
    assert_eq!(registries.default.as_deref(), Some("r.example:5000"));
    assert_eq!(registries.insecure, ["a", "b:1"]);
    assert_eq!(registries.certificates.as_deref(), Some(Path::new("/c.pem")));
    let files = ["/a.json", "/d/config.json", "/r/containers/auth.json", "/x/containers/auth.json"];
    assert_eq!(registries.credentials, files.map(PathBuf::from));
    assert_eq!(load(&[("VECUNA_REGISTRY", "off")]).registries.default, None);
}

#[test]
fn a_file_that_cannot_be_meant_is_refused() {
    let said = |file| with_file(&[], file).unwrap_err().to_string();
    assert_eq!(said("hots = 1"), "configuration file: unknown setting 'hots'");
    assert!(said("host = 1.5").contains("setting 'host' must be"));
    assert!(said("host = ").contains("line 1"));
}

#[test]
fn a_named_file_must_exist() {
    let variable = |name: &str| (name == "VECUNA_CONFIG").then(|| "/no/such/file".to_owned());
    let error = super::file::read(&Surroundings::of_variables(&variable)).unwrap_err();
    assert!(error.to_string().starts_with("configuration file '/no/such/file': "));
}

#[test]
fn a_bad_port_is_replaced_and_warned_about() {
    let config = load(&[("OLLAMA_HOST", "1.2.3.4:66000")]);
    assert_eq!(config.host.authority(), "1.2.3.4:11434");
    assert_eq!(config.warnings, ["OLLAMA_HOST: invalid port '66000', using 11434"]);
}

#[test]
fn the_manual_lists_every_setting() {
    let manual = include_str!("../../../docs/operations.md");
    for variable in variables() {
        let fallback = variable.fallback.map_or_else(|| "–".to_owned(), |name| format!("`{name}`"));
        let key = variable.key.map_or_else(|| "–".to_owned(), |key| format!("`{key}`"));
        let row = format!(
            "| `{}` | {fallback} | {key} | {} | {} |",
            variable.name, variable.default, variable.meaning
        );
        assert!(manual.contains(&row), "docs/operations.md lacks this line:\n{row}");
    }
}
