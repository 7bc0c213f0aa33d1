//! What do lists tell of all models? Remembered of each as long as its manifest on the disk stays the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::SystemTime,
};

use modelfiles::Name;
use registry::{Store, Stored};

use crate::{Error, stamps::Stamps};

/// Fewer models are read by one thread.
const MANY: usize = 64;

/// What is told of one model.
pub(crate) struct Row {
    /// The text that was made of it.
    pub(crate) text: String,
    name: Name,
    modified: SystemTime,
    stamps: Stamps,
}

/// The rows of the last list. They are as many as the store has models, of about a kilobyte each.
#[derive(Default)]
pub(crate) struct Listing {
    rows: Mutex<Arc<HashMap<Name, Arc<Row>>>>,
}

impl Listing {
    /// Returns what `tell` says of every readable model, the newest first.
    pub(crate) fn rows(
        &self,
        store: &Store,
        tell: impl Fn(&Stored) -> String + Sync,
    ) -> Result<Vec<Arc<Row>>, Error> {
        let known = Arc::clone(&self.rows.lock().unwrap_or_else(PoisonError::into_inner));
        let row = |name: &Name| {
            let row = known.get(name).filter(|row| row.stamps.are_current()).cloned();
            let row = row.or_else(|| read(store, name, &tell).map(Arc::new));
            row.map(|row| (name.clone(), row))
        };
        let names = store.names()?;
        // A first list of many models is mostly small files to open: two threads do that nearly twice as fast.
        let (near, far) =
            names.split_at(if names.len() < MANY { names.len() } else { names.len() / 2 });
        let rows: HashMap<Name, Arc<Row>> = thread::scope(|scope| {
            let far = scope.spawn(|| far.iter().filter_map(row).collect::<Vec<_>>());
            let near: Vec<_> = near.iter().filter_map(row).collect();
            near.into_iter().chain(far.join().unwrap_or_default()).collect()
        });
        let mut sorted: Vec<Arc<Row>> = rows.values().cloned().collect();
        sorted.sort_by(|a, b| {
            b.modified.cmp(&a.modified).then_with(|| a.name.parts().cmp(&b.name.parts()))
        });
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rows);
        Ok(sorted)
    }
}

fn read(store: &Store, name: &Name, tell: impl Fn(&Stored) -> String) -> Option<Row> {
    let stamps = Stamps::before_reading(store, name);
    let stored = store.find(name).ok()?;
    let text = tell(&stored);
    Some(Row { text, name: stored.name, modified: stored.modified, stamps })
}

#[cfg(test)]
mod tests {
    use registry::{Layer, Manifest, media};

    use super::*;

    #[test]
    fn only_what_has_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let commit = |name: &str, about: &[u8]| {
            let config = Layer::new(media::CONFIG, store.put_bytes(about).unwrap());
            store.commit(&Name::parse(name).unwrap(), &Manifest::new(config, Vec::new())).unwrap();
        };
        let listing = Listing::default();
        let list = |time: &str| {
            let rows = listing.rows(&store, |stored| format!("{} {time}", stored.name)).unwrap();
            let mut texts: Vec<String> = rows.iter().map(|row| row.text.clone()).collect();
            texts.sort();
            texts
        };
        commit("a", b"1");
        commit("b", b"1");
        assert_eq!(list("first"), ["a:latest first", "b:latest first"]);
        commit("b", b"2");
        commit("c", b"3");
        assert_eq!(list("second"), ["a:latest first", "b:latest second", "c:latest second"]);
        store.remove(&Name::parse("a").unwrap()).unwrap();
        assert_eq!(list("third"), ["b:latest second", "c:latest second"]);
        assert_eq!(listing.rows.lock().unwrap().len(), 2, "what is gone is forgotten");
    }
}
