//! Does another store of this machine, such as Ollama's, have a model that a registry does not give?

use std::fs::File;
use std::path::Path;

use futures_util::future::BoxFuture;
use modelfiles::Name;

use super::wheel::copy;
use super::{Content, Offer, Offered, Settings, Source};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::pull::{Feed, Meter};
use crate::store::{Staging, Store};

/// Waits for a registry's offer; when that is not asked or does not have the model, offers another store's.
pub(super) async fn or_stored(
    settings: &Settings,
    name: [&str; 3],
    feed: &Feed,
    registry: impl Future<Output = Result<Offer>>,
) -> Result<Offer> {
    if settings.offline
        && let Ok(offer) = resolve(settings, name).await
    {
        feed.status("using another store of this machine");
        return Ok(offer);
    }
    let error = match registry.await {
        Err(error @ (Error::Unreachable { .. } | Error::NotOffered(_))) => error,
        answer => return answer,
    };
    match resolve(settings, name).await {
        Ok(offer) => {
            feed.status(&format!("{error}: using another store of this machine"));
            Ok(offer)
        }
        Err(_none) => Err(error),
    }
}

/// Finds a model by host, repository and tag in the other stores.
pub(super) async fn resolve(settings: &Settings, [host, repo, tag]: [&str; 3]) -> Result<Offer> {
    let none = || Error::NotOffered(format!("{host}/{repo}:{tag} in other stores"));
    let (namespace, model) = repo.rsplit_once('/').ok_or_else(none)?;
    let name = Name::from_parts([host, namespace, model, tag]).ok_or_else(none)?;
    let roots = settings.stores.clone();
    let found = crate::blocking(move || Ok(roots.iter().find_map(|root| whole(root, &name)))).await;
    let (store, bytes, manifest) = found?.ok_or_else(none)?;
    let content = Content::Manifest(bytes, Box::new(manifest));
    Ok(Offer { content, revision: None, source: Box::new(store) })
}

/// Returns a model whose blobs are all there.
fn whole(root: &Path, name: &Name) -> Option<(Store, Vec<u8>, Manifest)> {
    let store = Store::as_it_is(root).ok()?;
    let (_, bytes) = store.manifest_of(name).ok()?;
    let manifest = Manifest::parse(&bytes).ok()?;
    store.require(&manifest).ok()?;
    Some((store, bytes, manifest))
}

impl Source for Store {
    fn fetch<'a>(
        &'a self,
        file: &'a Offered,
        staging: Staging,
        meter: &'a mut Meter,
    ) -> BoxFuture<'a, Result<Staging>> {
        let (store, digest, meter) = (self.clone(), file.digest, meter.clone());
        Box::pin(crate::blocking(move || {
            let none = || Error::NotOffered("a file without a digest".to_owned());
            let digest = digest.ok_or_else(none)?;
            let mut reader: File = store.open_blob_of(&digest)?;
            copy(&mut reader, &digest.short(), staging, meter)
        }))
    }
}
