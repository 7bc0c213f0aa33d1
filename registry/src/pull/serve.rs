//! Which source serves a model? Each in its turn, until one can.

use std::sync::Mutex;
use std::time::Duration;

use modelfiles::human::bytes;
use modelfiles::{Known, Name, Origin};
use tokio::time::timeout;

use super::board::Feed;
use super::fetch::{Need, fetch_all, needs};
use super::plan::Plan;
use super::{Work, layers, warm};
use crate::blocking;
use crate::error::{Attempt, Error, Result};
use crate::hash::digest_of;
use crate::sources::{self, Content, Offer, Offered};
use crate::store::Stored;

/// How long a source may take to describe a model when no other waits.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(60 * 60);
/// How often blobs that a removal took away in the meantime are fetched again.
const COMMITS: usize = 3;

/// Pulls a model from the first source that can serve it; nothing after a dry run.
pub(super) async fn run(
    work: &Work,
    name: &Name,
    plan: Result<Plan>,
    feed: &Feed,
) -> Result<Option<Stored>> {
    // Ollama's clients expect this line before every failure but those of the request.
    feed.status("pulling manifest");
    let Plan { origins, known } = plan?;
    // What a killed pull left behind must not fill the disk of who never starts the service.
    let store = work.store.clone();
    blocking(move || store.prune_leftovers()).await?;
    Pull { work, name, known: known.as_ref(), feed }.ask_in_turn(&origins).await
}

/// One model on its way into the store.
struct Pull<'a> {
    work: &'a Work,
    name: &'a Name,
    known: Option<&'a Known>,
    feed: &'a Feed,
}

impl Pull<'_> {
    /// Asks one source after the other.
    async fn ask_in_turn(&self, mut origins: &[Origin]) -> Result<Option<Stored>> {
        let mut attempts = Vec::new();
        while let [origin, rest @ ..] = origins {
            let place = sources::describe(origin);
            match self.serve(origin, self.patience(origin, rest)).await {
                Err(error) if error.is_of_source() => {
                    tracing::debug!(name = %self.name, place, %error, "source failed");
                    if !rest.is_empty() {
                        let failed = format!("{place} did not serve it ({error})");
                        self.feed.status(&format!("{failed}, trying the next source"));
                    }
                    attempts.push(Attempt { place, error });
                }
                outcome => return outcome,
            }
            origins = rest;
        }
        Err(failure(self.name, attempts))
    }

    /// Returns how long a source may take to describe the model; while another waits, not long.
    fn patience(&self, origin: &Origin, rest: &[Origin]) -> Duration {
        // Pip describes a model by downloading it, and has its own limits.
        let is_quick = matches!(origin, Origin::Hub { .. }) && !rest.is_empty();
        if is_quick { self.work.settings.patience } else { DESCRIBE_LIMIT }
    }

    async fn serve(&self, origin: &Origin, patience: Duration) -> Result<Option<Stored>> {
        let Self { work, name, known, feed } = *self;
        let place = sources::describe(origin);
        let looking = (work.clone(), name.clone());
        let here = blocking(move || Ok(warm::whole(&looking.0, &looking.1))).await?;
        let current = here.as_ref().and_then(|stored| warm::revision(stored, origin, known));
        if let Origin::Pip { version, .. } = origin
            && work.dry_run
            && current != Some(version)
        {
            // Pip tells what a wheel holds by fetching it.
            feed.status(&format!("would fetch {place}, whose size is known when it is here"));
            return Ok(None);
        }
        let offer = sources::resolve(origin, &work.settings, current, &work.store, feed);
        let late = || Err(Error::unreachable(&place, "no answer in time"));
        let mut offer = timeout(patience, offer).await.unwrap_or_else(|_| late())?;
        let mut is_here = offer.is_none();
        match offer.as_mut().map(|offer| &mut offer.content) {
            Some(Content::Files(files)) => promise(files, known, &place)?,
            Some(Content::Manifest(bytes, manifest)) => {
                if let Some(path) = known.and_then(|known| warm::other_file(manifest, known)) {
                    return Err(Error::OtherContent { place, path: path.to_owned() });
                }
                is_here = here.as_ref().is_some_and(|stored| digest_of(bytes) == stored.digest);
            }
            None => {}
        }
        feed.status(&format!("pulling from {place}"));
        match (offer, here.filter(|_| is_here)) {
            (_, Some(_)) if work.dry_run => {
                feed.status(&format!("nothing to fetch from {place}"));
                Ok(None)
            }
            (_, Some(stored)) => {
                warm::tell(&stored, feed);
                Ok(Some(stored))
            }
            (Some(offer), None) if work.dry_run => {
                rehearse(work, &offer, &place, feed).await.map(|()| None)
            }
            (Some(offer), None) => self.bring(origin, &offer, &place).await.map(Some),
            // A source says so of what it was told only.
            (None, None) => Err(Error::NotOffered(place)),
        }
    }

    /// Fetches what is missing, and writes the manifest.
    async fn bring(&self, origin: &Origin, offer: &Offer, place: &str) -> Result<Stored> {
        let Self { work, name, known, feed } = *self;
        let from = sources::place(origin).zip(offer.revision.clone());
        let (store, files) = (work.store.clone(), offer.files());
        let digests = files.into_iter().filter_map(|file| file.digest);
        let pin = Mutex::new(blocking(move || store.pin(digests)).await?);
        for _ in 0..COMMITS {
            let files = fetch_all(work, offer, &pin, feed).await?;
            let stored = match &offer.content {
                Content::Manifest(bytes, _) => layers::adopt(work, name, bytes.clone(), feed).await,
                Content::Files(_) => {
                    layers::assemble(work, name, files, from.clone(), known, feed).await
                }
            };
            match stored {
                Err(Error::MissingBlob(digest)) => {
                    tracing::debug!(%digest, "blob was removed meanwhile");
                }
                outcome => {
                    let stored = outcome?;
                    tracing::info!(name = %stored.name, place, digest = %stored.digest, "pulled");
                    return Ok(stored);
                }
            }
        }
        Err(Error::Corrupt(format!("blobs of '{name}' are removed while it is pulled")))
    }
}

/// Tells what would be fetched.
async fn rehearse(work: &Work, offer: &Offer, place: &str, feed: &Feed) -> Result<()> {
    let needs = needs(work, offer).await?;
    for need in &needs {
        let Offered { path, size, digest } = &need.file;
        let short = digest.map(|digest| digest.short()).unwrap_or_default();
        let status = if path.is_empty() { &short } else { path };
        feed.file(status, *digest, *size, need.here);
    }
    let missing: u64 = needs.iter().map(Need::missing).fold(0, u64::saturating_add);
    let size = needs.iter().filter_map(|need| need.file.size).fold(0, u64::saturating_add);
    feed.status(&format!("would fetch {} of {} from {place}", bytes(missing), bytes(size)));
    work.store.check_space(missing)
}

/// Says how all sources failed; one source speaks for itself.
fn failure(name: &Name, mut attempts: Vec<Attempt>) -> Error {
    match (attempts.len(), attempts.pop()) {
        (1, Some(attempt)) => attempt.error,
        (_, Some(last)) => {
            attempts.push(last);
            Error::AllFailed(attempts)
        }
        (_, None) => Error::Unknown(name.clone()),
    }
}

/// Binds the offered files to the digests that the library knows.
fn promise(files: &mut [Offered], known: Option<&Known>, place: &str) -> Result<()> {
    let Some(known) = known.filter(|known| !known.digests.is_empty()) else { return Ok(()) };
    let other = |path: &str| Error::OtherContent { place: place.to_owned(), path: path.to_owned() };
    let mut bound = 0;
    for (path, digest) in &known.digests {
        let Some(file) = files.iter_mut().find(|file| file.path == *path) else { continue };
        if file.digest.is_some_and(|offered| offered != *digest) {
            return Err(other(path));
        }
        file.digest = Some(*digest);
        bound += 1;
    }
    // A source without any file that can be checked could pass off another model.
    if bound == 0 { Err(other(&known.digests[0].0)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use modelfiles::{Digest, library};

    use super::*;

    fn offered(path: &str, digest: Option<Digest>) -> Offered {
        Offered { path: path.to_owned(), size: None, digest }
    }

    #[test]
    fn known_digests_bind_every_source() {
        let known = library::find(&Name::parse("all-minilm").unwrap()).unwrap();
        let right = known.digests[0].1;
        let check = |offered: Offered| {
            let mut files = [offered];
            promise(&mut files, Some(&known), "x").map(|()| files[0].digest)
        };
        let path = "model.safetensors";
        assert_eq!(check(offered(path, None)).unwrap(), Some(right));
        assert_eq!(check(offered(path, Some(right))).unwrap(), Some(right));
        let text = check(offered(path, Some(digest_of(b"")))).unwrap_err().to_string();
        assert_eq!(text, "x offers another 'model.safetensors' than the known model has");
        assert!(check(offered("pytorch_model.bin", None)).is_err());
        assert!(promise(&mut [offered("a", None)], None, "x").is_ok());
    }
}
