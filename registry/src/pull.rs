//! How does a name become a model in the store? Find sources, fetch blobs, write the manifest.

mod board;
mod fetch;
mod flight;
mod layers;
mod plan;
mod push;
mod serve;
mod warm;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use modelfiles::{Name, Origin};
use serde_json::Value;

use crate::error::Result;
use crate::sources::{Options, Settings};
use crate::store::Store;
pub use board::Progress;
pub(crate) use board::{Feed, Meter};
use flight::Flight;
pub use flight::Pulling;

/// The files of a model: path in the repository → blob.
pub type Files = BTreeMap<String, PathBuf>;

/// Reads the files of a model and returns the content of its config blob, or why it cannot be used.
pub type Describe = dyn Fn(&Files) -> Result<Value, String> + Send + Sync;

/// Pulls models; two pulls of one name at a time are one.
#[derive(Clone)]
pub struct Puller {
    work: Work,
    flights: Arc<Mutex<Flights>>,
}

/// The pulls that run, by name and options.
type Flights = HashMap<(String, Options), Weak<Flight>>;

/// What every pull works with.
#[derive(Clone)]
struct Work {
    store: Store,
    settings: Arc<Settings>,
    describe: Arc<Describe>,
    dry_run: bool,
}

impl Work {
    /// Returns the same for a caller with these options.
    fn with(&self, name: &Name, options: Options) -> Self {
        let mut work = Self { dry_run: options.dry_run, ..self.clone() };
        if options.insecure {
            let settings = Arc::make_mut(&mut work.settings);
            let hub = settings.endpoint.split_once("://").map_or("", |(_, rest)| rest);
            let hub = hub.split('/').next().unwrap_or_default().to_owned();
            let of_name = if name.has_default_host() {
                settings.registry.clone()
            } else {
                Some(name.host().to_owned())
            };
            settings.insecure.extend(of_name.into_iter().chain([hub]));
        }
        work
    }
}

impl Puller {
    /// Returns a puller for a store.
    pub fn new(store: Store, settings: Settings, describe: Arc<Describe>) -> Self {
        let work = Work { store, settings: Arc::new(settings), describe, dry_run: false };
        Self { work, flights: Arc::default() }
    }

    /// Begins to pull a model, or joins the pull of the same name. Must be called inside a runtime.
    pub fn pull(&self, name: &Name) -> Pulling {
        self.pull_with(name, Options::default())
    }

    /// Begins to pull a model as the caller wants it, or joins such a pull of the same name.
    pub fn pull_with(&self, name: &Name, options: Options) -> Pulling {
        let plan = plan::plan(name, self.work.settings.registry.as_deref());
        self.join(name, plan, options)
    }

    /// Begins to pull a model from the given places, tried in turn.
    pub fn pull_from(&self, name: &Name, origins: Vec<Origin>) -> Pulling {
        self.join(name, Ok(plan::Plan { origins, known: None }), Options::default())
    }

    fn join(&self, name: &Name, plan: Result<plan::Plan>, options: Options) -> Pulling {
        let key = (name.full().to_lowercase(), options);
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flying =
            flights.get(&key).and_then(Weak::upgrade).filter(|flight| !flight.has_landed());
        let flight = flying.unwrap_or_else(|| {
            let (work, name) = (self.work.with(name, options), name.clone());
            Flight::start(|feed| async move { serve::run(&work, &name, plan, &feed).await })
        });
        flights.retain(|_, flight| flight.strong_count() > 0);
        flights.insert(key, Arc::downgrade(&flight));
        Pulling::of(flight)
    }
}
