//! Which model does a name mean? Remembered as long as its manifest on the disk stays the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use modelfiles::Name;
use registry::{Store, Stored};

use crate::{Error, residency::Wanted, stamps::Stamps};

/// Names that are remembered; few applications use more than a handful.
const MOST_NAMES: usize = 256;

/// A model of the store, with what was found out about it.
pub(crate) struct Model {
    pub(crate) stored: Stored,
    wanted: OnceLock<Wanted>,
    stamps: Stamps,
}

impl Model {
    /// Reads a model of the store.
    fn read(store: &Store, name: &Name) -> Result<Self, Error> {
        let name = store.existing(name)?;
        let stamps = Stamps::before_reading(store, &name);
        let stored = store.find(&name)?;
        Ok(Self { stored, wanted: OnceLock::new(), stamps })
    }

    /// Returns what residency needs to load it, if that was found out already.
    pub(crate) fn wanted(&self) -> Option<&Wanted> {
        self.wanted.get()
    }

    /// Keeps what residency needs to load it.
    pub(crate) fn remember(&self, wanted: &Wanted) {
        self.wanted.get_or_init(|| wanted.clone());
    }

    /// Says whether the disk still holds this model under this name. Handing that to another thread would take longer
    /// than it takes: it is done where the request is.
    fn is_current(&self) -> bool {
        self.stamps.are_current()
    }
}

/// The models that were asked for.
#[derive(Default)]
pub(crate) struct Catalog {
    models: Mutex<HashMap<Name, Arc<Model>>>,
}

impl Catalog {
    /// Returns the model of a name without reading anything, if it is remembered and still the same.
    pub(crate) fn recall(&self, name: &Name) -> Option<Arc<Model>> {
        let model = self.models().get(name).cloned()?;
        model.is_current().then_some(model)
    }

    /// Reads the model of a name from the store, and remembers it.
    pub(crate) fn read(&self, store: &Store, name: &Name) -> Result<Arc<Model>, Error> {
        let model = Model::read(store, name).map(Arc::new);
        let mut models = self.models();
        match &model {
            Ok(model) => {
                if models.len() >= MOST_NAMES {
                    models.clear();
                }
                models.insert(name.clone(), Arc::clone(model));
            }
            Err(_) => drop(models.remove(name)),
        }
        model
    }

    fn models(&self) -> MutexGuard<'_, HashMap<Name, Arc<Model>>> {
        // The map is whole between any two statements that could panic.
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use registry::{Layer, Manifest, media};

    use super::*;

    #[test]
    fn what_another_process_does_to_a_model_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, theirs] = [(); 2].map(|()| Store::open(folder.path()).unwrap());
        let [name, shouted] = ["a", "A"].map(|text| Name::parse(text).unwrap());
        let commit = |about: &[u8]| {
            let config = Layer::new(media::CONFIG, theirs.put_bytes(about).unwrap());
            theirs.commit(&name, &Manifest::new(config, Vec::new())).unwrap().digest
        };
        let catalog = Catalog::default();
        let recalled = |name| catalog.recall(name).map(|model| model.stored.digest);
        let read = |name| catalog.read(&ours, name).map(|model| model.stored.digest);
        let first = commit(b"1");
        assert_eq!(recalled(&name), None);
        assert_eq!([read(&name), read(&shouted)], [Ok(first), Ok(first)]);
        assert_eq!([recalled(&name), recalled(&shouted)], [Some(first), Some(first)]);
        let second = commit(b"2");
        assert_eq!([recalled(&name), recalled(&shouted)], [None, None]);
        assert_eq!(read(&name), Ok(second));
        theirs.remove(&name).unwrap();
        assert_eq!(recalled(&name), None);
        assert!(matches!(read(&name), Err(Error::NotFound(_))));
    }

    #[test]
    fn few_names_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let config = Layer::new(media::CONFIG, store.put_bytes(b"").unwrap());
        let catalog = Catalog::default();
        let manifest = Manifest::new(config, Vec::new());
        let spelled = |i: usize| {
            let letters = (0..10).map(|bit| if i >> bit & 1 == 0 { 'a' } else { 'A' });
            Name::parse(&letters.collect::<String>()).unwrap()
        };
        store.commit(&spelled(0), &manifest).unwrap();
        for i in 0..2 * MOST_NAMES {
            catalog.read(&store, &spelled(i)).unwrap();
            assert!(catalog.models().len() <= MOST_NAMES);
        }
    }
}
