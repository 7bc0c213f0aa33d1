//! What happens next for a model that a request wants: decisions over who holds how many bytes, without a clock,
//! a thread or a model (`W` stands for whatever runs one).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use modelfiles::{Digest, KeepAlive, Name, human};
use tokio::sync::watch;

use super::Limits;
use crate::Error;

/// How a load ended; nothing while it runs.
pub(super) type Outcome = Option<Result<(), Error>>;

/// Every model in memory or on its way there, and who waits for room.
pub(super) struct Ledger<W> {
    residents: HashMap<Digest, Resident<W>>,
    /// Counts uses, to tell which model was used last.
    uses: u64,
    /// Requests that wait for room, in the order in which they came.
    waiting: BTreeSet<u64>,
    tickets: u64,
    /// When somebody will look for what has expired, unless told before.
    alarm: Option<Instant>,
}

struct Resident<W> {
    name: Name,
    /// None while it loads.
    worker: Option<Arc<W>>,
    /// Tells how the load ended. Whoever listens is about to use the model.
    arrival: Arc<watch::Sender<Outcome>>,
    bytes: u64,
    /// None while it loads: whoever loads it says, unless it is stopped before.
    keep_alive: Option<KeepAlive>,
    users: usize,
    /// When it goes; none while it is used, or forever.
    expires: Option<Instant>,
    used: u64,
    /// It must make room for the first who waits, so it takes no new users.
    leaving: bool,
}

/// What a request asks of the ledger.
pub(super) struct Claim<'a> {
    pub(super) digest: Digest,
    pub(super) name: &'a Name,
    /// Set for the model, where the request names one.
    pub(super) keep_alive: Option<KeepAlive>,
    /// Bytes that the model needs, once they are known.
    pub(super) need: Option<u64>,
    /// Its place among those who wait, if it does.
    pub(super) ticket: Option<u64>,
    /// It waited for the load of this model and is about to use it.
    pub(super) promised: bool,
}

/// What a request does next.
#[derive(Debug)]
pub(super) enum Step<W> {
    /// Use the loaded model; it has one user more.
    Use(Arc<W>),
    /// Wait for a load that runs.
    Join(watch::Receiver<Outcome>),
    /// Say how many bytes the model needs.
    Measure,
    /// Load it: its bytes are reserved.
    Load(Arc<watch::Sender<Outcome>>),
    /// Look again: this idle model made room.
    Evicted(Name),
    /// Take a ticket, and look again when something has changed.
    Wait,
}

/// A model in memory, as `ps` shows it.
pub(crate) struct Seen<W> {
    pub(crate) digest: Digest,
    pub(crate) name: Name,
    pub(crate) bytes: u64,
    pub(crate) worker: Arc<W>,
    /// How long it stays from now; none is forever.
    pub(crate) remaining: Option<Duration>,
}

impl<W> Default for Ledger<W> {
    fn default() -> Self {
        Self {
            residents: HashMap::new(),
            uses: 0,
            waiting: BTreeSet::new(),
            tickets: 0,
            alarm: None,
        }
    }
}

impl<W> Ledger<W> {
    /// Decides what a request does next, and books it.
    pub(super) fn step(&mut self, claim: &Claim<'_>, limits: &Limits) -> Result<Step<W>, Error> {
        let first = self.waiting.first().is_none_or(|first| Some(*first) == claim.ticket);
        if let Some(resident) = self.residents.get_mut(&claim.digest) {
            if resident.leaving && !first && !claim.promised {
                return Ok(Step::Wait);
            }
            self.uses += 1;
            return Ok(resident.join(claim.keep_alive, self.uses));
        }
        let Some(bytes) = claim.need else { return Ok(Step::Measure) };
        if bytes > limits.memory_bytes {
            return Err(never_fits(bytes, limits.memory_bytes));
        }
        if !first {
            return Ok(Step::Wait);
        }
        if self.fits(bytes, limits, |_| true) {
            return Ok(self.reserve(claim, bytes));
        }
        if self.fits(bytes, limits, |resident| !resident.is_idle()) {
            return Ok(self.evict().map_or(Step::Wait, Step::Evicted));
        }
        // Even without every idle model there is no room: somebody must finish first, and takes no new users.
        self.ask_to_leave(bytes, limits);
        Ok(Step::Wait)
    }

    /// Books one more user of a model that is in memory, where [`Self::step`] would say nothing but `Use`.
    pub(super) fn use_loaded(
        &mut self,
        digest: Digest,
        keep_alive: Option<KeepAlive>,
    ) -> Option<Arc<W>> {
        let resident = self.residents.get_mut(&digest)?;
        if resident.leaving || resident.worker.is_none() {
            return None;
        }
        self.uses += 1;
        match resident.join(keep_alive, self.uses) {
            Step::Use(worker) => Some(worker),
            _ => None,
        }
    }

    /// Gives a place among those who wait for room.
    pub(super) fn queue(&mut self) -> u64 {
        self.tickets += 1;
        self.waiting.insert(self.tickets);
        self.tickets
    }

    /// Gives up a place. The next in line says anew who must make room.
    pub(super) fn leave_queue(&mut self, ticket: u64) {
        self.waiting.remove(&ticket);
        self.residents.values_mut().for_each(|resident| resident.leaving = false);
    }

    /// Books the end of a load.
    pub(super) fn settle(
        &mut self,
        digest: Digest,
        worker: Option<Arc<W>>,
        keep_alive: KeepAlive,
        now: Instant,
    ) {
        let Some(worker) = worker else {
            self.residents.remove(&digest);
            return;
        };
        if let Some(resident) = self.residents.get_mut(&digest) {
            resident.worker = Some(worker);
            let keep_alive = *resident.keep_alive.get_or_insert(keep_alive);
            // Whoever wanted it may have gone: without a user it expires like any other.
            resident.expires = deadline(keep_alive, now);
        }
    }

    /// Books that a user of a model has finished. Says whether that is news: to those who wait for room, or to
    /// whoever unloads what has expired, because it would look too late.
    pub(super) fn release(&mut self, digest: Digest, worker: &Arc<W>, now: Instant) -> bool {
        let (alarm, somebody_waits) = (self.alarm, !self.waiting.is_empty());
        let Some(resident) = self.holder(digest, worker) else { return somebody_waits };
        resident.users -= 1;
        if resident.users == 0 {
            resident.expires = deadline(resident.stays(), now);
        }
        let expires_before = |alarm| resident.expires.is_some_and(|expires| expires < alarm);
        let is_early = alarm.map_or(resident.expires.is_some(), expires_before);
        somebody_waits || is_early
    }

    /// Forgets a model whose thread has died.
    pub(super) fn discard(&mut self, digest: Digest, worker: &Arc<W>) {
        if self.holder(digest, worker).is_some() {
            self.residents.remove(&digest);
        }
    }

    /// Lets a model go as soon as nobody uses it.
    pub(super) fn stop(&mut self, digest: Digest, now: Instant) {
        if let Some(resident) = self.residents.get_mut(&digest) {
            resident.keep_alive = Some(KeepAlive::For(Duration::ZERO));
            if resident.is_idle() {
                resident.expires = Some(now);
            }
        }
    }

    /// Removes what has expired; returns its names, and when to look again.
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<Name>, Option<Instant>) {
        let due = |resident: &Resident<W>| {
            resident.is_idle() && resident.expires.is_some_and(|expires| expires <= now)
        };
        let gone = self.residents.extract_if(|_, resident| due(resident));
        let names = gone.map(|(_, resident)| resident.name).collect();
        let idle = self.residents.values().filter(|resident| resident.is_idle());
        self.alarm = idle.filter_map(|resident| resident.expires).min();
        (names, self.alarm)
    }

    /// Returns the loaded models, the one that stays longest first.
    pub(super) fn seen(&self, now: Instant) -> Vec<Seen<W>> {
        let mut seen: Vec<Seen<W>> = self
            .residents
            .iter()
            .filter_map(|(digest, resident)| resident.seen(*digest, now))
            .collect();
        seen.sort_by_key(|seen| std::cmp::Reverse(seen.remaining.unwrap_or(Duration::MAX)));
        seen
    }

    fn holder(&mut self, digest: Digest, worker: &Arc<W>) -> Option<&mut Resident<W>> {
        let resident = self.residents.get_mut(&digest)?;
        let same = resident.worker.as_ref().is_some_and(|held| Arc::ptr_eq(held, worker));
        same.then_some(resident)
    }

    /// Says whether `bytes` more fit beside the models that `stays` keeps.
    fn fits(&self, bytes: u64, limits: &Limits, stays: impl Fn(&Resident<W>) -> bool) -> bool {
        let staying = || self.residents.values().filter(|resident| stays(resident));
        let used: u64 = staying().map(|resident| resident.bytes).sum();
        staying().count() < limits.models && used.saturating_add(bytes) <= limits.memory_bytes
    }

    fn reserve(&mut self, claim: &Claim<'_>, bytes: u64) -> Step<W> {
        let arrival = Arc::new(watch::Sender::new(None));
        let resident = Resident {
            name: claim.name.clone(),
            worker: None,
            arrival: Arc::clone(&arrival),
            bytes,
            keep_alive: None,
            users: 0,
            expires: None,
            used: self.uses,
            leaving: false,
        };
        self.residents.insert(claim.digest, resident);
        Step::Load(arrival)
    }

    /// Removes the idle model that comes first in rank.
    fn evict(&mut self) -> Option<Name> {
        let idle = self.residents.iter().filter(|(_, resident)| resident.is_idle());
        let digest = *idle.min_by_key(|(_, resident)| resident.rank())?.0;
        self.residents.remove(&digest).map(|resident| resident.name)
    }

    /// Marks busy models, in their rank, until there will be room for `bytes`.
    fn ask_to_leave(&mut self, bytes: u64, limits: &Limits) {
        while !self.fits(bytes, limits, |resident| !resident.is_idle() && !resident.leaving) {
            let staying = self.residents.values_mut().filter(|resident| !resident.leaving);
            let loaded = staying.filter(|resident| resident.worker.is_some());
            let Some(victim) = loaded.min_by_key(|resident| resident.rank()) else { return };
            victim.leaving = true;
        }
    }
}

impl<W> Resident<W> {
    fn join(&mut self, keep_alive: Option<KeepAlive>, uses: u64) -> Step<W> {
        let Some(worker) = &self.worker else { return Step::Join(self.arrival.subscribe()) };
        self.used = uses;
        self.users += 1;
        self.expires = None;
        self.keep_alive = keep_alive.or(self.keep_alive);
        Step::Use(Arc::clone(worker))
    }

    /// Orders by who goes first: whoever was asked to, then by last use; those that should stay forever go last.
    fn rank(&self) -> (bool, bool, u64) {
        (!self.leaving, self.stays() == KeepAlive::Forever, self.used)
    }

    fn stays(&self) -> KeepAlive {
        self.keep_alive.unwrap_or(KeepAlive::Forever)
    }

    fn is_idle(&self) -> bool {
        self.users == 0 && self.worker.is_some() && self.arrival.receiver_count() == 0
    }

    fn seen(&self, digest: Digest, now: Instant) -> Option<Seen<W>> {
        let worker = self.worker.clone()?;
        let remaining = match (self.expires, self.stays()) {
            (Some(expires), _) => Some(expires.saturating_duration_since(now)),
            (None, KeepAlive::For(span)) => Some(span),
            (None, KeepAlive::Forever) => None,
        };
        Some(Seen { digest, name: self.name.clone(), bytes: self.bytes, worker, remaining })
    }
}

fn deadline(keep_alive: KeepAlive, now: Instant) -> Option<Instant> {
    match keep_alive {
        // A span beyond the clock's range is forever.
        KeepAlive::For(span) => now.checked_add(span),
        KeepAlive::Forever => None,
    }
}

fn never_fits(bytes: u64, budget: u64) -> Error {
    Error::Internal(format!(
        "model requires more memory ({}) than the budget allows ({})",
        human::binary_bytes(bytes),
        human::binary_bytes(budget)
    ))
}

#[cfg(test)]
mod tests;
