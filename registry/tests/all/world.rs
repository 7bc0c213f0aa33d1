//! A store, a puller, and small words for what the tests ask of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use modelfiles::{Name, Origin};
use registry::{Error, Files, Options, Progress, Puller, Settings, Store, Stored};
use serde_json::json;
use tempfile::TempDir;

use crate::hub::{self, Hub};

pub(crate) struct World {
    _folder: TempDir,
    pub(crate) store: Store,
    pub(crate) puller: Puller,
}

/// What a pull said and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) lines: Vec<Progress>,
    pub(crate) outcome: Result<Option<Stored>, Arc<Error>>,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("models")).expect("a store");
        let describe = |files: &Files| Ok(json!({"files": files.len()}));
        let puller = Puller::new(store.clone(), settings, Arc::new(describe));
        Self { _folder: folder, store, puller }
    }

    /// A world whose hub is the given one.
    pub(crate) fn of(hub: &Hub) -> Self {
        Self::new(settings(&hub.endpoint))
    }

    pub(crate) async fn pull(&self, text: &str) -> Told {
        told(self.puller.pull(&name(text))).await
    }

    pub(crate) async fn pull_from(&self, text: &str, origins: Vec<Origin>) -> Told {
        told(self.puller.pull_from(&name(text), origins)).await
    }

    pub(crate) async fn rehearse(&self, text: &str) -> Told {
        let options = Options { dry_run: true, ..Options::default() };
        told(self.puller.pull_with(&name(text), options)).await
    }

    /// Pulls and expects an error; nothing of the model may be visible.
    pub(crate) async fn refused(&self, text: &str) -> String {
        let told = self.pull(text).await;
        assert_eq!(self.store.list().expect("a list").len(), 0);
        told.outcome.expect_err("an error").to_string()
    }

    pub(crate) fn read(&self, model: &Stored, path: &str) -> Vec<u8> {
        fs::read(&self.store.files(model).expect("files")[path]).expect("a blob")
    }

    /// Returns the names of everything in a folder of the store.
    pub(crate) fn entries(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store.root().join(folder)).expect("a folder");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }

    /// Returns where the parts of a download that can go on lie.
    pub(crate) fn partial(&self, bytes: &[u8]) -> PathBuf {
        self.store.root().join("staging").join(registry::digest_of(bytes).file_name())
    }

    /// Leaves a partial as a killed pull does, which says that all its bytes are true.
    pub(crate) fn leave_partial(&self, of: &[u8], bytes: &[u8]) {
        let path = self.partial(of);
        fs::write(&path, bytes).expect("a partial");
        let line = format!("0 {} {:08x}\n", bytes.len(), crc32fast::hash(bytes));
        fs::write(path.with_extension("parts"), line).expect("a journal");
    }
}

impl Told {
    pub(crate) fn model(&self) -> &Stored {
        match &self.outcome {
            Ok(Some(model)) => model,
            Ok(None) => panic!("no model: {:?}", self.statuses()),
            Err(error) => panic!("{error}: {:?}", self.statuses()),
        }
    }

    pub(crate) fn statuses(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line.status.as_str()).collect()
    }
}

pub(crate) async fn told(mut pulling: registry::Pulling) -> Told {
    let mut lines = Vec::new();
    while let Some(line) = pulling.next().await {
        lines.push(line);
    }
    Told { lines, outcome: pulling.finish().await }
}

/// Settings with short waits.
pub(crate) fn settings(endpoint: &str) -> Settings {
    Settings {
        endpoint: endpoint.to_owned(),
        pause: Duration::from_millis(1),
        stall: Duration::from_millis(1500),
        patience: Duration::from_millis(1500),
        ..Settings::default()
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// Returns bytes that look like weights, long enough to come in many pieces.
pub(crate) fn weights() -> Bytes {
    (0..300_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// A small model in Hugging Face layout.
pub(crate) fn model() -> hub::Files {
    hub::Files::default()
        .with("config.json", r#"{"model_type":"bert"}"#)
        .with("modules.json", r#"[{"path":""},{"path":"1_Pooling"},{"path":"2_Normalize"}]"#)
        .with("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens":true}"#)
        .with("tokenizer.json", "{}")
        .with("README.md", "---\nlicense: mit\n---\n")
        .with("model.safetensors", weights())
        .with("pytorch_model.bin", "not wanted")
        .with("onnx/model.onnx", "not wanted")
}

/// Writes a model into a folder.
pub(crate) fn write(files: &hub::Files, folder: &Path) {
    for (path, (bytes, _)) in &files.0 {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}
