//! How does a model get from the store to a registry?

use modelfiles::Name;
use modelfiles::library::HUB_HOSTS;

use super::board::Feed;
use super::flight::Flight;
use super::{Puller, Pulling, Work};
use crate::blocking;
use crate::error::{Error, Result};
use crate::hash::digest_of;
use crate::sources::{self, Options};
use crate::store::Stored;

impl Puller {
    /// Begins to send a model to the registry that its name begins with. Must be called inside a runtime.
    pub fn push(&self, name: &Name, options: Options) -> Pulling {
        let (work, name) = (self.work.with(name, options), name.clone());
        Pulling::of(Flight::start(|feed| async move { run(&work, &name, &feed).await.map(Some) }))
    }
}

async fn run(work: &Work, name: &Name, feed: &Feed) -> Result<Stored> {
    feed.status("retrieving manifest");
    let (store, wanted) = (work.store.clone(), name.clone());
    let found = blocking(move || {
        let stored = store.find(&wanted)?;
        let (bytes, _) = store.manifest_bytes(&stored.name)?;
        Ok((stored, bytes))
    });
    let (mut stored, bytes) =
        found.await.inspect_err(|_| feed.status("couldn't retrieve manifest"))?;
    stored.digest = digest_of(&bytes);
    refuse(&stored.name)?;
    let [host, namespace, model, tag] = stored.name.parts();
    let target = [host, &format!("{namespace}/{model}"), tag];
    sources::push(&work.settings, &work.store, target, bytes, feed).await?;
    feed.status("success");
    Ok(stored)
}

/// Refuses names that lead to no registry that we could push to.
fn refuse(name: &Name) -> Result<()> {
    let model = name.model();
    let advice = format!(
        "'vecuna cp {name} HOST/NAMESPACE/{model}' gives it a name that leads to a registry"
    );
    if name.has_default_host() {
        let host = name.host();
        return Err(Error::Unusable(format!(
            "'{name}' names no registry of yours, and {host} takes models from Ollama itself only; {advice}"
        )));
    }
    if HUB_HOSTS.iter().any(|host| name.host().eq_ignore_ascii_case(host)) {
        return Err(Error::Unusable(format!("'{}' is no OCI registry; {advice}", name.host())));
    }
    Ok(())
}
