//! What every handler needs: the settings, the store, the models in memory and the pulls under way.

use std::{collections::BTreeMap, sync::Arc};

use engine::Embedder;
use modelfiles::{Locality, Name, Parameters, Recipe, human, library, locality};
use registry::{Manifest, Puller, Store, Stored, media};
use serde_json::Value;

use crate::{
    Config, Error, about,
    body::Bodies,
    catalog::{Catalog, Model},
    listing::Listing,
    residency::{Limits, Residency, Wanted},
    worker::Compute,
};

/// Uploads at once.
const UPLOADS: usize = 16;
/// Largest parameters or description of a model; real ones have a few hundred bytes.
pub(crate) const MOST_CONFIG_BYTES: u64 = 1 << 20;
/// Largest licence text.
const MOST_LICENSE_BYTES: u64 = 4 << 20;

/// The service behind the routes.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) store: Store,
    catalog: Catalog,
    pub(crate) listing: Listing,
    /// Where models compute.
    pub(crate) processor: engine::Processor,
    pub(crate) residency: Arc<Residency>,
    pub(crate) puller: Puller,
    pub(crate) bodies: Bodies,
    /// Places for uploads and archives: each has a thread that writes or reads, and there must be threads for all else.
    pub(crate) uploads: Arc<tokio::sync::Semaphore>,
}

impl App {
    /// Opens the store and starts with no model in memory.
    pub(crate) fn start(config: Config) -> Result<Arc<Self>, Error> {
        Self::start_with(config, Embedder::run)
    }

    /// Does what [`Self::start`] does, with workers that compute in another way.
    pub(crate) fn start_with(config: Config, compute: Compute) -> Result<Arc<Self>, Error> {
        let store = Store::open(&config.models)?.over(&config.shared_models)?;
        let limits = Limits {
            models: config.max_loaded_models,
            memory_bytes: config.memory.bytes(machine_memory_bytes()),
            // One more than may wait: the one that is served.
            requests: config.max_queue.saturating_add(1).min(tokio::sync::Semaphore::MAX_PERMITS),
            tokens: config.max_queue_tokens,
            keep_alive: config.keep_alive,
            load_timeout: config.load_timeout,
        };
        let processor = config.processor();
        let describing = processor.clone();
        let describe = move |files: &registry::Files| describe(files, &describing);
        Ok(Arc::new(Self {
            residency: Residency::start(limits, processor.clone(), compute),
            processor,
            puller: Puller::new(store.clone(), config.sources(), Arc::new(describe)),
            store,
            catalog: Catalog::default(),
            listing: Listing::default(),
            bodies: Bodies::new(config.max_body_bytes),
            uploads: Arc::new(tokio::sync::Semaphore::new(UPLOADS)),
            config,
        }))
    }

    /// Removes what earlier processes left behind; returns the number of models.
    pub(crate) fn tidy(&self) -> Result<usize, Error> {
        self.store.prune_leftovers()?;
        if !self.config.noprune {
            self.store.prune_unreferenced()?;
        }
        Ok(self.store.list()?.len())
    }

    /// Runs something that reads or writes the disk, away from the threads that serve sockets.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&app)).await?
    }

    /// Returns a model by the text of its name; `missing` says how the dialect words its absence.
    pub(crate) async fn find(
        self: &Arc<Self>,
        text: &str,
        missing: impl FnOnce() -> String,
    ) -> Result<Stored, Error> {
        let name = local_name(text)?;
        let found = self.blocking(move |app| Ok(app.store.find(&name)?)).await;
        found.map_err(|error| worded(error, missing))
    }

    /// Returns a model that is to be used, as [`Self::find`] does; what is remembered of it is not read again.
    pub(crate) async fn model(
        self: &Arc<Self>,
        text: &str,
        missing: impl FnOnce() -> String,
    ) -> Result<Arc<Model>, Error> {
        let name = local_name(text)?;
        if let Some(model) = self.catalog.recall(&name) {
            return Ok(model);
        }
        let found = self.blocking(move |app| app.catalog.read(&app.store, &name)).await;
        found.map_err(|error| worded(error, missing))
    }

    /// Returns what residency needs to load a model.
    pub(crate) fn wanted(&self, stored: &Stored) -> Result<Wanted, Error> {
        if stored.manifest.layers_of(media::ADAPTER).next().is_some() {
            return Err(Error::Internal(
                "models with adapters cannot run in this version".to_owned(),
            ));
        }
        if let Some(reason) =
            library::find(&stored.name).and_then(|known| crate::unsupported(&known))
        {
            return Err(Error::Internal(reason));
        }
        let parameters = self.parameters(&stored.manifest)?;
        let recipe =
            Recipe::from_parameters(&parameters).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(Wanted {
            digest: stored.digest,
            name: stored.name.clone(),
            files: self.store.files(stored)?,
            recipe,
        })
    }

    /// Returns the parameters of a model; a later layer overrules an earlier one.
    pub(crate) fn parameters(&self, manifest: &Manifest) -> Result<Parameters, Error> {
        let mut parameters = BTreeMap::new();
        for layer in manifest.layers_of(media::PARAMS) {
            let bytes = self.store.read_blob(&layer.digest, MOST_CONFIG_BYTES)?;
            let more: Parameters = serde_json::from_slice(&bytes)
                .map_err(|e| Error::Internal(format!("parameters of the model: {e}")))?;
            parameters.extend(more);
        }
        Ok(parameters)
    }

    /// Returns the texts of all layers of a media type.
    pub(crate) fn texts(&self, manifest: &Manifest, media: &str) -> Result<Vec<String>, Error> {
        let read = |digest| self.store.read_blob(digest, MOST_LICENSE_BYTES);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        manifest.layers_of(media).map(|layer| Ok(text(read(&layer.digest)?))).collect()
    }

    /// Returns the description of a model that was stored with it; empty where it cannot be read.
    pub(crate) fn about(&self, manifest: &Manifest) -> Value {
        let bytes = self.store.read_blob(&manifest.config.digest, MOST_CONFIG_BYTES);
        bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }
}

fn worded(error: Error, missing: impl FnOnce() -> String) -> Error {
    match error {
        Error::NotFound(_) => Error::NotFound(missing()),
        other => other,
    }
}

/// Describes pulled files for their manifest.
fn describe(files: &registry::Files, processor: &engine::Processor) -> Result<Value, String> {
    about::describe(files, &Recipe::default(), processor).map_err(|error| error.to_string())
}

/// Returns the words of `/api/embed` for a model that is not there.
pub(crate) fn pull_first(text: &str) -> String {
    format!("model {} not found, try pulling it first", human::quoted(text))
}

/// Parses a name that must not point to Ollama's cloud.
pub(crate) fn local_name(text: &str) -> Result<Name, Error> {
    let bad = |error: modelfiles::NameError| Error::BadRequest(error.to_string());
    match locality(text).map_err(bad)? {
        (_, Locality::Cloud) => Err(Error::Forbidden(
            "ollama cloud is disabled: remote model is unavailable".to_owned(),
        )),
        (name, Locality::Local | Locality::Unsaid) => Name::parse(name).map_err(bad),
    }
}

/// Returns the memory of the machine, or of the control group that this process lives in.
fn machine_memory_bytes() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    system.total_memory().min(group)
}
