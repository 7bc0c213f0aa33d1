//! Is a model here already, exactly as a pull would leave it? Told by one question to its source; no blob is read.

use modelfiles::{Known, Name, Origin};

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
        && known
            .is_none_or(|known| has_parameters(manifest, known) && has_digests(manifest, known));
    let revision = manifest.annotations.get(annotation::REVISION).filter(|_| is_same)?;
    Some(revision)
}

fn has_parameters(manifest: &Manifest, known: &Known) -> bool {
    let has = manifest.layers_of(media::PARAMS).next().map(|layer| layer.digest);
    layers::params_digest(&known.parameters).is_ok_and(|wanted| wanted == has)
}

fn has_digests(manifest: &Manifest, known: &Known) -> bool {
    let of = |path: &str| {
        let layer = manifest.layers.iter().find(|layer| layer.name.as_deref() == Some(path));
        layer.map(|layer| layer.digest)
    };
    known.digests.iter().all(|(path, digest)| of(path).is_none_or(|has| has == *digest))
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
