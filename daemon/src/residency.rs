//! Which models are in memory: loads on demand, shares, expires and evicts within the limits.

mod ledger;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use engine::{Embedder, Files, Processor};
use modelfiles::{Digest, KeepAlive, Name, Recipe};
use tokio::sync::Notify;

use crate::{
    Error,
    worker::{Compute, Worker},
};
use ledger::{Claim, Ledger, Outcome, Step};

/// What residency must keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Models in memory at once.
    pub(crate) models: usize,
    /// Bytes of all models together.
    pub(crate) memory_bytes: u64,
    /// Requests that may be under way or wait.
    pub(crate) requests: usize,
    /// Tokens that may wait at one model.
    pub(crate) tokens: usize,
    /// How long a model stays when nobody says.
    pub(crate) keep_alive: KeepAlive,
    /// How long a request waits for its model.
    pub(crate) load_timeout: Option<Duration>,
}

/// A model that a request wants in memory.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Digest of its manifest: copies share what is loaded.
    pub(crate) digest: Digest,
    /// The name that it was asked for by.
    pub(crate) name: Name,
    /// Where its files lie.
    pub(crate) files: Files,
    /// What its parameters say.
    pub(crate) recipe: Recipe,
}

/// A model in memory, as `ps` shows it.
pub(crate) type Seen = ledger::Seen<Worker>;

/// The models in memory.
pub(crate) struct Residency {
    limits: Limits,
    processor: Processor,
    compute: Compute,
    ledger: Mutex<Ledger<Worker>>,
    /// Told whenever the ledger changes.
    changed: Arc<Notify>,
    admitted: Arc<tokio::sync::Semaphore>,
}

/// The right to use a loaded model; it stays in memory as long as this lives.
pub(crate) struct Lease {
    residency: Arc<Residency>,
    digest: Digest,
    worker: Arc<Worker>,
    _admission: tokio::sync::OwnedSemaphorePermit,
}

impl std::ops::Deref for Lease {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        &self.worker
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut ledger = self.residency.ledger();
        let mut is_news = ledger.release(self.digest, &self.worker, Instant::now());
        if self.worker.is_dead() {
            ledger.discard(self.digest, &self.worker);
            is_news = true;
        }
        drop(ledger);
        if is_news {
            self.residency.changed.notify_waiters();
        }
    }
}

/// A place among those who wait for room.
struct Ticket(Arc<Residency>, u64);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.ledger().leave_queue(self.1);
        self.0.changed.notify_waiters();
    }
}

/// The intention to use a model as soon as it is loaded; until it is dropped the model counts as used.
struct Interest {
    arrival: tokio::sync::watch::Receiver<Outcome>,
    /// Behind the receiver, because fields are dropped in their order.
    _told: Told,
}

/// Tells, when it is dropped, that the ledger may look different.
struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

impl Drop for Residency {
    fn drop(&mut self) {
        self.changed.notify_waiters();
    }
}

impl Residency {
    /// Starts with no model, and with the task that unloads what has expired.
    pub(crate) fn start(limits: Limits, processor: Processor, compute: Compute) -> Arc<Self> {
        let residency = Arc::new(Self {
            limits,
            processor,
            compute,
            ledger: Mutex::default(),
            changed: Arc::default(),
            admitted: Arc::new(tokio::sync::Semaphore::new(limits.requests)),
        });
        let changed = Arc::clone(&residency.changed);
        tokio::spawn(expire(Arc::downgrade(&residency), changed));
        residency
    }

    /// Returns a lease on the model, once it is in memory. A request that names a `keep_alive` sets it for the model.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        wanted: Wanted,
        keep_alive: Option<KeepAlive>,
    ) -> Result<Lease, Error> {
        let admission = self.admit()?;
        let digest = wanted.digest;
        let worker = match self.limits.load_timeout {
            None => self.obtain(wanted, keep_alive).await?,
            Some(limit) => {
                tokio::time::timeout(limit, self.obtain(wanted, keep_alive)).await.map_err(
                    |_late| Error::Internal("timed out waiting for the model to load".to_owned()),
                )??
            }
        };
        Ok(Lease { residency: Arc::clone(self), digest, worker, _admission: admission })
    }

    /// Does what [`Self::acquire`] does, for a model that is in memory now; none if it is not.
    pub(crate) fn resident(
        self: &Arc<Self>,
        digest: Digest,
        keep_alive: Option<KeepAlive>,
    ) -> Result<Option<Lease>, Error> {
        let admission = self.admit()?;
        let worker = self.ledger().use_loaded(digest, keep_alive);
        let lease =
            |worker| Lease { residency: Arc::clone(self), digest, worker, _admission: admission };
        Ok(worker.map(lease).filter(|lease| !lease.worker.is_dead()))
    }

    fn admit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Error> {
        Arc::clone(&self.admitted).try_acquire_owned().map_err(|_full| Error::Busy)
    }

    async fn obtain(
        self: &Arc<Self>,
        wanted: Wanted,
        keep_alive: Option<KeepAlive>,
    ) -> Result<Arc<Worker>, Error> {
        let (mut need, mut ticket, mut interest): (_, Option<Ticket>, Option<Interest>) =
            (None, None, None);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Wanted { digest, name, .. } = &wanted;
            let place = ticket.as_ref().map(|ticket| ticket.1);
            let promised = interest.is_some();
            let claim = Claim { digest: *digest, name, keep_alive, need, ticket: place, promised };
            let step = self.ledger().step(&claim, &self.limits)?;
            match step {
                Step::Use(worker) if worker.is_dead() => self.ledger().discard(*digest, &worker),
                Step::Use(worker) => return Ok(worker),
                Step::Join(arrival) => arrived(interest.insert(self.interest(arrival))).await?,
                Step::Measure => need = Some(measure(&wanted, &self.processor).await?),
                Step::Wait if ticket.is_none() => ticket = Some(self.ticket()),
                Step::Wait => changed.await,
                Step::Evicted(name) => tracing::info!(model = %name, "evicted"),
                Step::Load(arrival) => {
                    interest = Some(self.interest(arrival.subscribe()));
                    let loading = Arc::clone(self).load(wanted.clone(), arrival, keep_alive);
                    // The load goes on when this request is dropped: others may have joined it.
                    tokio::spawn(loading);
                }
            }
        }
    }

    fn ticket(self: &Arc<Self>) -> Ticket {
        Ticket(Arc::clone(self), self.ledger().queue())
    }

    fn interest(&self, arrival: tokio::sync::watch::Receiver<Outcome>) -> Interest {
        Interest { arrival, _told: Told(Arc::clone(&self.changed)) }
    }

    /// Loads a model that the ledger has reserved memory for, and tells all who wait for it.
    async fn load(
        self: Arc<Self>,
        wanted: Wanted,
        arrival: Arc<tokio::sync::watch::Sender<Outcome>>,
        keep_alive: Option<KeepAlive>,
    ) {
        let started = Instant::now();
        let digest = wanted.digest;
        let pinned = wanted.recipe.pin.then_some(KeepAlive::Forever);
        let keep_alive = keep_alive.or(wanted.recipe.keep_alive).or(pinned);
        let keep_alive = keep_alive.unwrap_or(self.limits.keep_alive);
        let name = wanted.name.clone();
        let (processor, compute) = (self.processor.clone(), self.compute);
        let tokens = self.limits.tokens;
        let loaded = tokio::task::spawn_blocking(move || {
            let embedder = Embedder::load(&wanted.files, &wanted.recipe, &processor)?;
            Worker::start(embedder, compute, tokens)
                .map_err(|e| Error::Internal(format!("no thread for the model: {e}")))
        });
        let result = loaded.await.map_err(Error::from).flatten();
        match &result {
            Ok(_) => {
                tracing::info!(model = %name, ms = started.elapsed().as_millis() as u64, "loaded");
            }
            Err(error) => tracing::warn!(model = %name, %error, "not loaded"),
        }
        let told = result.as_ref().map(drop).map_err(Clone::clone);
        self.ledger().settle(digest, result.ok().map(Arc::new), keep_alive, Instant::now());
        arrival.send_replace(Some(told));
        self.changed.notify_waiters();
    }

    /// Unloads a model as soon as nobody uses it.
    pub(crate) fn stop(&self, digest: Digest) {
        self.ledger().stop(digest, Instant::now());
        self.changed.notify_waiters();
    }

    /// Returns what is in memory, the one that stays longest first.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.ledger().seen(Instant::now())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger<Worker>> {
        // The ledger is whole between any two statements that could panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a load has ended.
async fn arrived(interest: &mut Interest) -> Result<(), Error> {
    let outcome = interest.arrival.wait_for(Option::is_some).await;
    outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Ok(()))
}

/// Reads the headers of a model to learn how many bytes it needs.
async fn measure(wanted: &Wanted, processor: &Processor) -> Result<u64, Error> {
    let (Wanted { files, recipe, .. }, processor) = (wanted.clone(), processor.clone());
    let describe = move || engine::describe(&files, &recipe, &processor);
    let described = tokio::task::spawn_blocking(describe).await?;
    Ok(described?.memory_bytes)
}

/// Unloads what has expired, until the residency is gone.
async fn expire(residency: Weak<Residency>, changed: Arc<Notify>) {
    loop {
        let told = changed.notified();
        tokio::pin!(told);
        told.as_mut().enable();
        let Some(alive) = residency.upgrade() else { return };
        let (expired, next) = alive.ledger().expire(Instant::now());
        for name in &expired {
            tracing::info!(model = %name, "unloaded");
        }
        if !expired.is_empty() {
            alive.changed.notify_waiters();
        }
        drop(alive);
        match next {
            Some(at) => drop(tokio::time::timeout_at(at.into(), told).await),
            None => told.await,
        }
    }
}
