//! Who is the user to a registry? What `docker login` and `podman login` wrote into their files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The longest file of credentials.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// How the user shows who they are. It has no `Debug`, because it must never reach a log.
#[derive(PartialEq, Eq)]
pub(super) enum Login {
    /// A name and a password.
    Password { user: String, password: String },
    /// A token that a token server gives further tokens for.
    Identity(String),
    /// None; the text says what was found instead, if anything.
    None(Option<String>),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// Returns the login for a repository of a registry: that of the first file that has one.
pub(super) fn find(files: &[PathBuf], host: &str, repo: &str) -> Login {
    let mut note = None;
    for path in files {
        match look(path, host, repo) {
            Ok(Login::None(found)) => note = note.or(found),
            Ok(login) => return login,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => note = note.or(Some(format!("'{}': {error}", path.display()))),
        }
    }
    Login::None(note)
}

fn look(path: &Path, host: &str, repo: &str) -> io::Result<Login> {
    let mut text = String::new();
    // A pipe would be waited for.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    File::open(path)?.take(FILE_LIMIT_BYTES).read_to_string(&mut text)?;
    // What the parser says could repeat a part of the text, which is secret.
    let config: Config = serde_json::from_str(&text)
        .map_err(|_secret| io::Error::other("it is not what docker or podman writes"))?;
    let matches = |key: &&String| covers(key, host, repo);
    let best = config.auths.iter().filter(|(key, _)| matches(key)).max_by_key(|(key, _)| key.len());
    if let Some(login) = best.and_then(|(_, entry)| entry.login()) {
        return Ok(login);
    }
    let helper = config.helpers.iter().find(|(key, _)| matches(key)).map(|(_, helper)| helper);
    Ok(Login::None(helper.or(config.store.as_ref()).map(|helper| {
        format!(
            "'{}' leaves it to the helper 'docker-credential-{helper}', and helpers are not run",
            path.display()
        )
    })))
}

impl Entry {
    fn login(&self) -> Option<Login> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Some(Login::Identity(token));
        }
        if let (Some(user), Some(password)) = (given(&self.username), given(&self.password)) {
            return Some(Login::Password { user, password });
        }
        let text = String::from_utf8(STANDARD.decode(given(&self.auth)?.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        let (user, password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
        Some(Login::Password { user, password })
    }
}

/// Tells whether the key of an entry stands for a repository: a host, with or without a scheme and a path.
fn covers(key: &str, host: &str, repo: &str) -> bool {
    let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let (named, path) = key.trim_end_matches('/').split_once('/').unwrap_or((key, ""));
    let is_docker = |host: &str| ["docker.io", "index.docker.io"].contains(&host);
    let is_host = named.trim_end_matches('/').eq_ignore_ascii_case(host)
        || is_docker(named) && is_docker(host);
    // Docker writes the address of an interface, podman may write a part of a repository's name.
    let is_path = ["", "v1", "v2"].contains(&path)
        || repo.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_host && is_path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let error = look(&path, "r.example", "a/b").map(words).unwrap_err();
        assert_eq!(error.to_string(), "it is not a file");
    }

    fn words(login: Login) -> String {
        match login {
            Login::Password { user, password } => format!("{user}/{password}"),
            Login::Identity(token) => format!("identity {token}"),
            Login::None(note) => note.unwrap_or_default(),
        }
    }

    #[test]
    fn the_first_file_that_knows_the_host_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let files = [
            folder.path().join("missing"),
            file("broken", "{\"auths\": {\"x\": secret"),
            // The password holds a colon and ends as some tools pad it.
            file("a", r#"{"auths": {"https://a.example/v1/": {"auth": "dTpwOnEA"}, "h": {}}}"#),
            file(
                "b",
                r#"{"auths": {"a.example": {"auth": "eDp5"}, "b.example:5000": {"identitytoken": "t"},
                "c.example": {"username": "c", "password": "d"}, "c.example/team": {"auth": "eDp5"}},
                "credHelpers": {"g.example": "gcloud"}}"#,
            ),
        ];
        let find = |host: &str| words(super::find(&files, host, "team/model"));
        assert_eq!(find("a.example"), "u/p:q");
        assert_eq!(find("b.example:5000"), "identity t");
        assert_eq!(find("c.example"), "x/y");
        assert_eq!(words(super::find(&files, "c.example", "teams/model")), "c/d");
        let broken = find("b.example");
        assert!(
            broken.contains("broken': it is not what") && !broken.contains("secret"),
            "{broken}"
        );
        let helper = words(super::find(&files[3..], "g.example", "team/model"));
        assert!(helper.contains("'docker-credential-gcloud', and helpers are not run"), "{helper}");
    }

    #[test]
    fn keys_name_hosts_in_many_ways() {
        for key in ["h.example", "https://h.example", "http://H.example/v2/", "h.example/a"] {
            assert!(covers(key, "h.example", "a/b"), "{key}");
        }
        for key in ["h.example:5000", "h.example/ab", "example", "h.example.org", "h.example/a/c"] {
            assert!(!covers(key, "h.example", "a/b"), "{key}");
        }
        assert!(covers("https://index.docker.io/v1/", "docker.io", "a/b"));
    }
}
