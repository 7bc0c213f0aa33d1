//! What lies in the store that nobody will come back for?

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use modelfiles::Digest;
use rustix::fs::{FileType, statvfs};

use super::Store;
use super::leftover::{Leftover, hold, remove_all};
use super::root::entries;
use crate::error::{Error, Result};

/// A temporary file, or a blob without a model, is left over after this time.
const STALE: Duration = Duration::from_secs(60 * 60);
/// A partial download is worth resuming for this time.
const PARTIAL_STALE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What is younger is left alone even when all space is wanted back: it may be about to be used.
const GRACE: Duration = Duration::from_secs(60);
/// The same for a folder; pip, which works in one, may be silent for three minutes.
const FOLDER_GRACE: Duration = Duration::from_secs(10 * 60);

/// How the journal of a partial is called: as the partial, and this.
const JOURNAL: &str = ".parts";

/// What [`Store::prune`] is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prune {
    /// Nothing is removed, only counted.
    pub dry_run: bool,
    /// In a store that somebody else made, blobs of no model go too.
    pub all: bool,
}

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Downloads that could have gone on.
    pub partials: Amount,
    /// Files of work that was interrupted.
    pub temporary: Amount,
    /// Blobs that no model needs.
    pub orphans: Amount,
    /// Why blobs of no model were left alone, if they were.
    pub kept: Option<Kept>,
}

/// Why blobs of no model are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Somebody else made the store.
    Foreign,
    /// Manifests cannot be read, which may name them.
    Unreadable,
}

/// A number of files and their size on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, leftover: Leftover) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(leftover.bytes);
    }
}

/// How old something must be before it goes, and whether it does.
#[derive(Clone, Copy)]
struct Rules {
    temporary: Duration,
    partial: Duration,
    orphan: Duration,
    dry_run: bool,
}

/// What happens at every start, without being asked for.
const QUIET: Rules =
    Rules { temporary: STALE, partial: PARTIAL_STALE, orphan: STALE, dry_run: false };

impl Store {
    /// Removes old temporary files and partials.
    pub fn prune_leftovers(&self) -> Result<()> {
        self.sweep_leftovers(&mut Sweep::new(QUIET));
        Ok(())
    }

    /// Removes old blobs that no model names; nothing while a manifest is unreadable, or in somebody else's store.
    pub fn prune_unreferenced(&self) -> Result<()> {
        if self.own.is_foreign {
            return Ok(());
        }
        match self.sweep_blobs(&mut Sweep::new(QUIET)) {
            // A store that cannot be written can still be served.
            Err(Error::ReadOnly { .. }) => Ok(()),
            other => other,
        }
    }

    /// Removes at once whatever nobody uses.
    pub fn prune(&self, wanted: Prune) -> Result<Pruned> {
        let dry_run = wanted.dry_run;
        if !dry_run {
            // A store that cannot be written says so before anything is tried.
            drop(self.lock()?);
        }
        let rules = Rules { temporary: GRACE, partial: Duration::ZERO, orphan: GRACE, dry_run };
        let mut sweep = Sweep::new(rules);
        self.sweep_leftovers(&mut sweep);
        if self.own.is_foreign && !wanted.all {
            sweep.pruned.kept = Some(Kept::Foreign);
            return Ok(sweep.pruned);
        }
        if sweep.is_busy || self.own.is_foreign {
            // What a pull or an upload has brought so far belongs to no model yet; Ollama's show no lock.
            sweep.rules.orphan = STALE;
        }
        self.sweep_blobs(&mut sweep)?;
        Ok(sweep.pruned)
    }

    fn sweep_leftovers(&self, sweep: &mut Sweep) {
        if let Ok(staging) = self.own.folder(&["staging"]) {
            sweep.staging(&staging);
        }
    }

    /// Removes blobs that no model needs, while no manifest can come.
    fn sweep_blobs(&self, sweep: &mut Sweep) -> Result<()> {
        let _lock = if sweep.rules.dry_run { None } else { Some(self.lock()?) };
        let Some(used) = self.referenced()? else {
            sweep.pruned.kept = Some(Kept::Unreadable);
            return Ok(());
        };
        if let Ok(blobs) = self.own.folder(&["blobs"]) {
            sweep.orphans(&blobs, &used);
        }
        Ok(())
    }

    /// Checks that this many more bytes fit on the disk.
    pub(crate) fn check_space(&self, needed: u64) -> Result<()> {
        // Where the system does not say, the write itself will.
        let Ok(disk) = statvfs(self.root()) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed <= free {
            return Ok(());
        }
        Err(Error::NoSpace { needed: Some(needed - free) })
    }
}

/// One look at everything.
struct Sweep {
    rules: Rules,
    pruned: Pruned,
    /// Somebody pulls or uploads.
    is_busy: bool,
}

impl Sweep {
    fn new(rules: Rules) -> Self {
        Self { rules, pruned: Pruned::default(), is_busy: false }
    }

    fn staging(&mut self, folder: &OwnedFd) {
        for (name, kind) in entries(folder).unwrap_or_default() {
            let data = name.strip_suffix(JOURNAL);
            if is_digest(&name) {
                self.partial(folder, &name, Some(&format!("{name}{JOURNAL}")));
            } else if data.is_none_or(|data| Leftover::of(folder, data).is_err()) {
                self.temporary(folder, &name, kind);
            }
        }
    }

    /// Removes a download that nobody goes on with; who opens it meanwhile finds out by its lock.
    fn partial(&mut self, folder: &OwnedFd, name: &str, journal: Option<&str>) {
        let Ok(mut leftover) = Leftover::of(folder, name) else { return };
        let journal = journal.and_then(|name| Some((name, Leftover::of(folder, name).ok()?)));
        if let Some((_, more)) = journal {
            leftover = leftover.with(more);
        }
        if !leftover.is_older(self.rules.partial) {
            // Its writer, if there is one, need not wait for us.
            return;
        }
        let Some(_held) = hold(folder, name) else {
            self.is_busy = true;
            return;
        };
        // The journal goes first: without it the data claims nothing.
        let names = journal.map(|(name, _)| name).into_iter().chain([name]);
        if self.remove(folder, names) {
            self.pruned.partials.add(leftover);
        }
    }

    fn temporary(&mut self, folder: &OwnedFd, name: &str, kind: FileType) {
        let Ok(leftover) = Leftover::of(folder, name) else { return };
        let age = match kind {
            FileType::Directory => self.rules.temporary.max(FOLDER_GRACE),
            _ => self.rules.temporary,
        };
        if !leftover.is_older(age) {
            self.is_busy = true;
            return;
        }
        let Some(_held) = hold(folder, name) else {
            self.is_busy = true;
            return;
        };
        if self.remove(folder, [name]) {
            self.pruned.temporary.add(leftover);
        }
    }

    fn orphans(&mut self, blobs: &OwnedFd, used: &HashSet<Digest>) {
        for (name, kind) in entries(blobs).unwrap_or_default() {
            let digest = Digest::parse(&name).ok().filter(|digest| digest.file_name() == name);
            let is_orphan = digest.is_some_and(|digest| !used.contains(&digest));
            if kind != FileType::RegularFile || !is_orphan {
                continue;
            }
            let Ok(leftover) = Leftover::of(blobs, &name) else { continue };
            if leftover.is_older(self.rules.orphan) && self.remove(blobs, [name.as_str()]) {
                self.pruned.orphans.add(leftover);
            }
        }
    }

    /// Removes what these names stand for; tells whether all of it is gone, or would be.
    fn remove<'a>(&self, folder: &OwnedFd, names: impl IntoIterator<Item = &'a str>) -> bool {
        self.rules.dry_run
            || names.into_iter().all(|name| {
                let removed = remove_all(folder, name);
                removed.inspect_err(|error| tracing::debug!(name, %error, "leftover stays")).is_ok()
            })
    }
}

fn is_digest(name: &str) -> bool {
    Digest::parse(name).is_ok_and(|digest| digest.file_name() == name)
}
