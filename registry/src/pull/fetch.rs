//! How do the offered files get into the store? Kept, resumed or fetched, a few at a time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use modelfiles::Digest;
use tokio::time::sleep;

use super::Work;
use super::board::Feed;
use crate::blocking;
use crate::error::{Error, Result};
use crate::manifest::{FILES_LIMIT, Layer, media};
use crate::sources::{GGUF_ENDING, Offer, Offered, donors};
use crate::store::{Pin, Staging, Store};

/// Files fetched at the same time.
const PARALLEL: usize = 4;
/// How often a blob that another process downloads is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long another process may stand still; its own retries take less.
const STANDSTILL: Duration = Duration::from_secs(15 * 60);

/// What is left of the patience with another process that downloads a blob.
struct Patience {
    size: u64,
    since: Instant,
}

impl Default for Patience {
    fn default() -> Self {
        Self { size: 0, since: Instant::now() }
    }
}

impl Patience {
    /// Takes note of the bytes that are here; an error when they have not changed for too long.
    fn spend(&mut self, digest: Digest, size: u64) -> Result<()> {
        if size != self.size {
            *self = Self { size, since: Instant::now() };
        }
        if self.since.elapsed() > STANDSTILL { Err(Error::Busy(digest)) } else { Ok(()) }
    }
}

/// What a pull would fetch of one file.
pub(super) struct Need {
    pub(super) file: Offered,
    /// The bytes that are here.
    pub(super) here: u64,
}

impl Need {
    /// Returns the bytes to fetch, where the size is known.
    pub(super) fn missing(&self) -> u64 {
        self.file.size.unwrap_or(0).saturating_sub(self.here)
    }
}

/// Returns what every offered file needs, unless it is more than may be pulled.
pub(super) async fn needs(work: &Work, offer: &Offer) -> Result<Vec<Need>> {
    let files = offer.files();
    if files.len() > FILES_LIMIT {
        return Err(Error::Unusable(format!("the model has more than {FILES_LIMIT} files")));
    }
    let size = files.iter().filter_map(|file| file.size).fold(0, u64::saturating_add);
    if let Some(limit) = work.settings.limit.filter(|limit| size > *limit) {
        return Err(Error::TooLarge { size, limit });
    }
    let store = work.store.clone();
    let here = move |digest| store.size_of(&digest).unwrap_or_else(|| store.partial_size(&digest));
    let need = move |file: Offered| Need { here: file.digest.map_or(0, &here), file };
    blocking(move || Ok(files.into_iter().map(need).collect())).await
}

/// Brings every offered file into the store, and returns their layers in the order of their paths.
pub(super) async fn fetch_all(
    work: &Work,
    offer: &Offer,
    pin: &Mutex<Pin>,
    feed: &Feed,
) -> Result<Vec<Layer>> {
    let needs = needs(work, offer).await?;
    work.store.check_space(needs.iter().map(Need::missing).fold(0, u64::saturating_add))?;
    let fetches: Vec<_> = needs.iter().map(|need| fetch(work, offer, need, pin, feed)).collect();
    let mut layers: Vec<Layer> =
        stream::iter(fetches).buffer_unordered(PARALLEL).try_collect().await?;
    layers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(layers)
}

async fn fetch(
    work: &Work,
    offer: &Offer,
    need: &Need,
    pin: &Mutex<Pin>,
    feed: &Feed,
) -> Result<Layer> {
    // Others may have filled the disk meanwhile.
    work.store.check_space(need.missing())?;
    let file = &need.file;
    let blob = match file.digest {
        Some(digest) => fetch_known(work, offer, file, digest, feed).await?,
        None => fetch_unknown(&work.store, offer, file, pin, feed).await?,
    };
    Ok(match file.path.to_ascii_lowercase().ends_with(GGUF_ENDING) {
        true => Layer::new(media::GGUF, blob),
        false => Layer::file(&file.path, blob),
    })
}

/// Fetches a file whose digest only its bytes will tell.
async fn fetch_unknown(
    store: &Store,
    offer: &Offer,
    file: &Offered,
    pin: &Mutex<Pin>,
    feed: &Feed,
) -> Result<(Digest, u64)> {
    let mut meter = feed.meter(&format!("pulling {}", file.path), None, file.size);
    let staging = stage(store).await?;
    let staging = offer.fetch(file, staging, &mut meter).await?;
    let (digest, size) = blocking(move || staging.finish()).await?;
    pin.lock().unwrap_or_else(PoisonError::into_inner).add(digest)?;
    feed.meter(&pulling(&digest), Some(digest), None).done(size);
    Ok((digest, size))
}

/// Fetches a file by its digest: kept if it is here, resumed if a part of it is.
async fn fetch_known(
    work: &Work,
    offer: &Offer,
    file: &Offered,
    digest: Digest,
    feed: &Feed,
) -> Result<(Digest, u64)> {
    let store = &work.store;
    let mut meter = feed.meter(&pulling(&digest), Some(digest), file.size);
    let mut patience = Patience::default();
    loop {
        let Some(staging) = begin(work, digest).await? else {
            let size = store.size_of(&digest).ok_or(Error::MissingBlob(digest))?;
            meter.done(size);
            return Ok((digest, size));
        };
        let Some(staging) = staging else {
            let looking = store.clone();
            let size = blocking(move || Ok(looking.partial_size(&digest))).await?;
            meter.at(size);
            patience.spend(digest, size)?;
            sleep(LOOK).await;
            continue;
        };
        let resumed = staging.size() > 0;
        let staging = offer.fetch(file, staging, &mut meter).await?;
        match blocking(move || staging.finish()).await {
            // The partial may have been damaged by a power cut; the refused one is gone now.
            Err(Error::DigestMismatch { .. }) if resumed => {}
            outcome => {
                let (digest, size) = outcome?;
                meter.done(size);
                return Ok((digest, size));
            }
        }
    }
}

/// Begins a known blob: `None` when it is here and intact, `Some(None)` while another process writes it.
async fn begin(work: &Work, digest: Digest) -> Result<Option<Option<Staging>>> {
    let (store, settings) = (work.store.clone(), work.settings.clone());
    blocking(move || {
        if store.size_of(&digest).is_some() {
            match store.verify(&digest) {
                Ok(()) => return Ok(None),
                Err(Error::DigestMismatch { .. }) => {
                    tracing::warn!(%digest, "damaged blob is fetched again");
                    store.discard(&digest)?;
                }
                Err(error) => return Err(error),
            }
        }
        let staging = store.resume(digest)?;
        // Who holds the partial asks, so that nobody else does at the same time.
        if let Some(staging) = &staging
            && donors::adopt(&settings, &store, digest)?
        {
            staging.restart()?;
            return Ok(None);
        }
        Ok(Some(staging))
    })
    .await
}

async fn stage(store: &Store) -> Result<Staging> {
    let store = store.clone();
    blocking(move || store.stage(None)).await
}

pub(super) fn pulling(digest: &Digest) -> String {
    format!("pulling {}", digest.short())
}
