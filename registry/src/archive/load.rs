//! How do models get out of an archive? Blobs first, in any order; names last, when all is there.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, Instant};

use modelfiles::{Digest, Name};

use super::entries::{Entries, Entry};
use super::{BLOBS, BUFFER_BYTES, INDEX, INDEX_TYPE, Index, LAYOUT, Layout, REF_NAME, unusable};
use crate::error::{Error, Result};
use crate::manifest::{FILES_LIMIT, Layer, MANIFEST_LIMIT_BYTES, Manifest, media};
use crate::pull::Progress;
use crate::store::{Pin, Store, Stored};

const NAMELESS: &str =
    "its index has a manifest without a name (skopeo gives it one: oci-archive:FILE:NAME)";
/// The manifests of all models together; one has some kilobytes.
const MANIFESTS_LIMIT_BYTES: usize = 64 << 20;
/// The longest `oci-layout`; it says one number.
const LAYOUT_LIMIT_BYTES: u64 = 4 << 10;
/// Models of one archive.
const MODELS_LIMIT: usize = 1_000;
/// A blob's progress is told at most this often.
const INTERVAL: Duration = Duration::from_millis(60);

/// A model of an archive that may get its name.
struct Arrival {
    name: Name,
    /// Of its manifest, which is read when it is needed: many together may be large.
    digest: Digest,
    size: u64,
}

/// An archive on its way into a store.
struct Unpacking<'a, R> {
    store: &'a Store,
    entries: Entries<R>,
    index: Option<Index>,
    /// Keeps removals from the blobs that have come.
    pin: Pin,
    tell: &'a mut dyn FnMut(Progress),
}

impl Store {
    /// Reads an archive to its end, then makes its models visible; of one that ends early blobs are kept for a while.
    pub fn unpack(&self, from: impl Read, tell: &mut dyn FnMut(Progress)) -> Result<Vec<Stored>> {
        let (entries, pin) = (Entries::new(from), self.pin([])?);
        let mut unpacking = Unpacking { store: self, entries, index: None, pin, tell };
        while let Some(entry) = unpacking.entries.next()? {
            unpacking.take(&entry)?;
        }
        let Unpacking { index, tell, mut pin, .. } = unpacking;
        let index = index.ok_or_else(|| unusable("it has no index.json"))?;
        let arrivals = self.arrivals(&index, &mut pin)?;
        tell(status("writing manifest"));
        let settled = arrivals.iter().map(|arrival| self.settle(arrival));
        let settled: Vec<(Stored, Option<Stored>)> = settled.collect::<Result<_>>()?;
        drop(pin);
        // What is not needed any more goes when all models are there, for one may use what another has replaced.
        let (stored, before): (Vec<Stored>, Vec<Option<Stored>>) = settled.into_iter().unzip();
        for before in before.into_iter().flatten() {
            self.release(&before.manifest)?;
        }
        self.forget(&arrivals)?;
        stored.iter().for_each(|model| tell(status(&format!("loaded {}", model.name))));
        tell(status("success"));
        Ok(stored)
    }

    /// Returns the models that an index names, when all of them can be used.
    fn arrivals(&self, index: &Index, pin: &mut Pin) -> Result<Vec<Arrival>> {
        if index.manifests.is_empty() {
            return Err(unusable("its index names no model"));
        }
        if index.manifests.len() > MODELS_LIMIT {
            return Err(unusable(format!("it has more than {MODELS_LIMIT} models")));
        }
        let (mut names, mut kept) = (BTreeSet::new(), BTreeSet::new());
        let mut arrivals = Vec::new();
        let mut bytes = 0;
        for named in &index.manifests {
            if named.media_type == INDEX_TYPE {
                return Err(unusable("its index names another index, not a model"));
            }
            let text = named.annotations.get(REF_NAME);
            let text = text.ok_or_else(|| unusable(NAMELESS))?;
            let name = Name::parse(text)
                .map_err(|error| unusable(format!("'{}': {error}", text.escape_debug())))?;
            if !names.insert(name.full().to_lowercase()) {
                return Err(unusable(format!("its index names '{name}' twice")));
            }
            let arrival = Arrival { name, digest: named.digest, size: named.size };
            let manifest = self.manifest_blob(&arrival)?;
            bytes += manifest.len();
            if bytes > MANIFESTS_LIMIT_BYTES {
                return Err(unusable("its models have more manifests than models do"));
            }
            let manifest = self.judge(&arrival.name, &manifest)?;
            // Some may have been here before, as parts of models that others remove meanwhile.
            for layer in manifest.blobs().filter(|layer| kept.insert(layer.digest)) {
                pin.add(layer.digest)?;
            }
            self.require(&manifest)?;
            arrivals.push(arrival);
        }
        Ok(arrivals)
    }

    fn manifest_blob(&self, arrival: &Arrival) -> Result<Vec<u8>> {
        let bytes = self.read_blob(&arrival.digest, MANIFEST_LIMIT_BYTES)?;
        // It may have been here before, and not come with the archive.
        match crate::digest_of(&bytes) {
            got if got == arrival.digest => Ok(bytes),
            got => Err(Error::DigestMismatch { want: arrival.digest, got }),
        }
    }

    /// Checks that a manifest is that of a model whose blobs are here.
    fn judge(&self, name: &Name, bytes: &[u8]) -> Result<Manifest> {
        let manifest = Manifest::parse(bytes)
            .map_err(|error| unusable(format!("the manifest of '{name}': {error}")))?;
        let is_of_model = |layer: &Layer| {
            ["application/vnd.vecuna.", "application/vnd.ollama."]
                .iter()
                .any(|start| layer.media_type.starts_with(start))
        };
        if !manifest.layers.iter().any(is_of_model) {
            return Err(unusable(format!("'{name}' is not a model")));
        }
        if manifest.layers.len() > FILES_LIMIT {
            return Err(unusable(format!("'{name}' has more than {FILES_LIMIT} files")));
        }
        self.layer_files(manifest.layers_of(media::FILE))?;
        Ok(manifest)
    }

    /// Makes a model visible, and returns the one that had its name before.
    fn settle(&self, arrival: &Arrival) -> Result<(Stored, Option<Stored>)> {
        let before = self.find(&arrival.name).ok();
        let stored = self.commit_bytes(&arrival.name, &self.manifest_blob(arrival)?)?;
        let before = before.filter(|before| before.digest != stored.digest);
        Ok((stored, before))
    }

    /// Removes manifests from the blobs: in a store, unlike in an archive, they are none.
    fn forget(&self, arrivals: &[Arrival]) -> Result<()> {
        let mut blobs =
            arrivals.iter().map(|arrival| Layer::new("", (arrival.digest, arrival.size)));
        match blobs.next() {
            Some(first) => self.release(&Manifest::new(first, blobs.collect())),
            None => Ok(()),
        }
    }
}

impl<R: Read> Unpacking<'_, R> {
    /// Takes in one file; those that are not of an image layout have no meaning here.
    fn take(&mut self, entry: &Entry) -> Result<()> {
        match entry.path.as_str() {
            LAYOUT => self.take_layout(),
            INDEX if self.index.is_some() => Err(unusable("it has two index.json")),
            INDEX => {
                let bytes = self.entries.bytes(MANIFEST_LIMIT_BYTES)?;
                let index = serde_json::from_slice(&bytes);
                self.index =
                    Some(index.map_err(|error| unusable(format!("its index.json: {error}")))?);
                Ok(())
            }
            path => match path.strip_prefix(BLOBS) {
                Some(hex) => {
                    let wrong = || unusable(format!("'{}' is no digest", hex.escape_debug()));
                    self.take_blob(Digest::from_hex(hex).ok_or_else(wrong)?, entry.size)
                }
                None => Ok(()),
            },
        }
    }

    fn take_layout(&mut self) -> Result<()> {
        let bytes = self.entries.bytes(LAYOUT_LIMIT_BYTES)?;
        let layout: Layout = serde_json::from_slice(&bytes)
            .map_err(|error| unusable(format!("its oci-layout: {error}")))?;
        match layout.version.starts_with("1.") {
            true => Ok(()),
            false => Err(unusable("its layout is of a version that is not known")),
        }
    }

    fn take_blob(&mut self, digest: Digest, size: u64) -> Result<()> {
        let line = |completed| Progress {
            status: format!("loading {}", digest.short()),
            digest: Some(digest),
            total: Some(size),
            completed: Some(completed),
        };
        self.pin.add(digest)?;
        if self.store.size_of(&digest) != Some(size) || self.store.verify(&digest).is_err() {
            self.store.check_space(size)?;
            let mut staging = self.store.stage(Some(digest))?;
            let mut buffer = vec![0; BUFFER_BYTES];
            let mut told = Instant::now();
            loop {
                let read = self.entries.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                staging.write(&buffer[..read])?;
                if told.elapsed() >= INTERVAL {
                    told = Instant::now();
                    (self.tell)(line(staging.size()));
                }
            }
            staging.finish()?;
        }
        (self.tell)(line(size));
        Ok(())
    }
}

fn status(status: &str) -> Progress {
    Progress { status: status.to_owned(), digest: None, total: None, completed: None }
}
