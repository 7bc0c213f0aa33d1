//! Is a model here already, exactly as a pull would leave it? Told by one question to its source; no blob is read.

use modelfiles::{Digest, Known, Name, Origin};

use super::board::Feed;
use super::fetch::pulling;
use super::{Work, layers};
use crate::manifest::{Manifest, annotation, media};
use crate::sources;
use crate::store::Stored;

/// Returns the model of a name if all its blobs are as they were when its manifest was written.
pub(super) fn whole(work: &Work, name: &Name) -> Option<Stored> {
    let stored = work.store.find(name).ok()?;
    let is_trusted = |layer| work.store.is_trusted(layer, stored.modified);
    let is_whole = stored.manifest.blobs().all(is_trusted);
    is_whole.then_some(stored)
}

/// Returns what a source had when the model was pulled from it, unless a pull would now make another model of it.
pub(super) fn revision<'a>(
    stored: &'a Stored,
    origin: &Origin,
    known: Option<&Known>,
) -> Option<&'a str> {
    let manifest = &stored.manifest;
    let place = sources::place(origin)?;
    let is_same = manifest.annotations.get(annotation::SOURCE) == Some(&place)
        && known.is_none_or(|known| {
            has_parameters(manifest, known) && other_file(manifest, known).is_none()
        });
    let revision = manifest.annotations.get(annotation::REVISION).filter(|_| is_same)?;
    Some(revision)
}

fn has_parameters(manifest: &Manifest, known: &Known) -> bool {
    let has = manifest.layers_of(media::PARAMS).next().map(|layer| layer.digest);
    layers::params_digest(&known.parameters).is_ok_and(|wanted| wanted == has)
}

/// Returns the path of a file that is another one than the library knows.
pub(super) fn other_file<'a>(manifest: &Manifest, known: &'a Known) -> Option<&'a str> {
    let is_other = |(path, digest): &&(String, Digest)| {
        let mut layers = manifest.layers.iter();
        layers.any(|layer| layer.name.as_ref() == Some(path) && layer.digest != *digest)
    };
    known.digests.iter().find(is_other).map(|(path, _)| path.as_str())
}

/// Tells about a model that stays as it is what a pull would tell.
pub(super) fn tell(stored: &Stored, feed: &Feed) {
    for layer in stored.manifest.blobs() {
        feed.meter(&pulling(&layer.digest), Some(layer.digest), None).done(layer.size);
    }
    for status in ["verifying sha256 digest", "writing manifest", "success"] {
        feed.status(status);
    }
}
