//! How do bytes become a blob? Written aside in any order, hashed on the way, synced, then renamed.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use modelfiles::Digest;
use tempfile::TempPath;

use super::blobs::open_plain;
use super::extents::Extents;
use super::journal::{self, Journal};
use super::{Store, sync_folder};
use crate::error::{Error, Result};
use crate::hash::Hasher;

/// Bytes that may wait for the disk.
const SYNC_BYTES: u64 = 64 << 20;
/// Bytes hashed at once.
const BUFFER_BYTES: usize = 1 << 18;

/// A blob in the making. Dropped before `finish`, it leaves nothing but a partial that can be resumed.
pub struct Staging {
    store: Store,
    place: Place,
    expected: Option<Digest>,
    making: Arc<Making>,
}

enum Place {
    /// A file without a name worth keeping.
    Temporary(TempPath),
    /// The partial of a known digest, locked as long as it is open.
    Partial(PathBuf),
}

/// What those that write parts of a blob share.
pub(super) struct Making {
    pub(super) file: File,
    /// Where it lies, if it can be resumed.
    partial: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Extents,
    journal: Option<Journal>,
    tag: Option<String>,
    /// The hash of the bytes before `hashed`.
    hasher: Hasher,
    hashed: u64,
    /// Somebody hashes what is there.
    is_hashing: bool,
    /// How many bytes the disk has been given.
    synced: u64,
    /// How often everything was thrown away.
    restarts: u32,
}

impl Store {
    /// Begins a blob in a temporary file.
    pub fn stage(&self, expected: Option<Digest>) -> Result<Staging> {
        let folder = self.staging_folder();
        let create = || {
            self.make_folder("staging")?;
            tempfile::Builder::new().prefix("blob-").tempfile_in(&folder)
        };
        let (file, path) = create().map_err(|cause| self.io(&folder, cause))?.into_parts();
        // Whoever prunes the store sees by this that it is in use; where files cannot be locked its age will do.
        file.try_lock().ok();
        Ok(Staging::new(self, file, State::default(), Place::Temporary(path), expected))
    }

    /// Continues or begins the partial of a known digest; `None` while somebody else writes it.
    pub(crate) fn resume(&self, digest: Digest) -> Result<Option<Staging>> {
        let path = self.partial_path(&digest);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = open_plain(&mut options, &path).map_err(|cause| self.io(&path, cause))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(cause)) => return Err(self.io(&path, cause)),
        }
        if file.metadata().is_ok_and(|metadata| metadata.nlink() > 1) {
            // It has another name somewhere, and what is written here must not be written there.
            self.unlink(&path)?;
            return Ok(None);
        }
        if !is_same_file(&file, &path) {
            // The writer before us has renamed or removed it between our open and our lock.
            return Ok(None);
        }
        if self.own_size_of(&digest).is_some() {
            // The writer before us was done before our open, which made an empty file.
            self.unlink(&path)?;
            return Ok(None);
        }
        let opened = Journal::open(journal_path(&path), &file);
        let (journal, told) = opened.map_err(|cause| self.io(&path, cause))?;
        let state = State {
            hashed: told.held.prefix(),
            held: told.held,
            journal: Some(journal),
            tag: told.tag,
            hasher: told.hasher,
            ..State::default()
        };
        Ok(Some(Staging::new(self, file, state, Place::Partial(path), Some(digest))))
    }

    /// Returns how many bytes of a blob are here, by the word of who writes it.
    pub(crate) fn partial_size(&self, digest: &Digest) -> u64 {
        journal::told(&journal_path(&self.partial_path(digest)))
    }
}

impl Staging {
    fn new(
        store: &Store,
        file: File,
        state: State,
        place: Place,
        expected: Option<Digest>,
    ) -> Self {
        let partial = match &place {
            Place::Partial(path) => Some(path.clone()),
            Place::Temporary(_) => None,
        };
        let making = Making { file, partial, state: Mutex::new(state) };
        Self { store: store.clone(), place, expected, making: Arc::new(making) }
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let at = self.making.state().held.end();
        let write = || {
            self.making.file.write_all_at(bytes, at)?;
            let mut state = self.making.state();
            if state.hashed == at {
                state.hasher.update(bytes);
                state.hashed += bytes.len() as u64;
            }
            let crc = if state.journal.is_some() { crc32fast::hash(bytes) } else { 0 };
            state.note(at..at + bytes.len() as u64, crc)
        };
        write().map_err(|cause| self.io(cause))
    }

    /// Returns the number of bytes so far.
    pub fn size(&self) -> u64 {
        self.making.state().held.total()
    }

    /// Returns the parts that are here.
    pub(crate) fn held(&self) -> Extents {
        self.making.state().held.clone()
    }

    /// Returns what the server called the version of the file that the parts are of.
    pub(crate) fn tag(&self) -> Option<String> {
        self.making.state().tag.clone()
    }

    /// Takes note of what the server calls the version of the file.
    pub(crate) fn set_tag(&self, tag: &str) -> Result<()> {
        let mut state = self.making.state();
        state.tag = Some(tag.to_owned());
        let told = state.journal.as_mut().map_or(Ok(()), |journal| journal.tag(tag));
        drop(state);
        told.map_err(|cause| self.io(cause))
    }

    /// Throws away all bytes so far. Nobody may be writing parts.
    pub(crate) fn restart(&self) -> Result<()> {
        let clear = || {
            let mut state = self.making.state();
            let mut journal = state.journal.take();
            journal.as_mut().map_or(Ok(()), Journal::clear)?;
            let restarts = state.restarts + 1;
            *state = State { journal, restarts, ..State::default() };
            self.making.file.set_len(0)
        };
        clear().map_err(|cause| self.io(cause))
    }

    /// Returns somebody who writes the part that begins here.
    pub(super) fn scribe(&self, at: u64) -> Scribe {
        Scribe {
            making: self.making.clone(),
            at,
            noted: at,
            crc: crc32fast::Hasher::new(),
            buffer: Vec::new(),
        }
    }

    /// Makes the bytes a blob, unless they are not what was expected: then nothing is left of them.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let (got, size) = self.making.finish().map_err(|cause| self.io(cause))?;
        if let Some(want) = self.expected
            && want != got
        {
            if let Place::Partial(path) = &self.place {
                self.store.unlink(path)?;
                self.forget();
            }
            return Err(Error::DigestMismatch { want, got });
        }
        self.settle(got)?;
        Ok((got, size))
    }

    fn settle(&self, digest: Digest) -> Result<()> {
        let target = self.store.own_blob_path(&digest);
        let source = match &self.place {
            Place::Temporary(path) => path.to_path_buf(),
            Place::Partial(path) => path.clone(),
        };
        let file = &self.making.file;
        let settle = || {
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.sync_all()?;
            self.store.make_folder("blobs")?;
            fs::rename(source, &target)?;
            self.forget();
            sync_folder(&self.store.blobs())
        };
        settle().map_err(|cause| self.store.io(&target, cause))
    }

    /// Removes the journal, whose bytes are elsewhere or nowhere.
    fn forget(&self) {
        if let Some(journal) = self.making.state().journal.take() {
            journal.remove();
        }
    }

    pub(super) fn io(&self, cause: io::Error) -> Error {
        match &self.place {
            Place::Temporary(path) => self.store.io(path, cause),
            Place::Partial(path) => self.store.io(path, cause),
        }
    }
}

impl Drop for Making {
    /// A partial without a byte is not worth keeping. Whoever wrote the last part has noted it before.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Some(path), Some(journal), 0) = (&self.partial, &state.journal, state.held.total())
        {
            drop(fs::remove_file(path));
            journal.remove();
        }
    }
}

impl State {
    /// Takes note of a part that is written.
    fn note(&mut self, part: Range<u64>, crc: u32) -> io::Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        if let Some(journal) = &mut self.journal {
            journal.add(&part, crc)?;
        }
        self.held.insert(part);
        Ok(())
    }
}

impl Making {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes what is there from the beginning on, unless somebody else does.
    fn hash_along(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.state();
        if state.is_hashing || state.held.prefix() <= state.hashed {
            return Ok(());
        }
        buffer.resize(BUFFER_BYTES, 0);
        state.is_hashing = true;
        while state.held.prefix() > state.hashed {
            state = match self.hash_on(state, buffer) {
                Ok(state) => state,
                Err(error) => {
                    self.state().is_hashing = false;
                    return Err(error);
                }
            };
        }
        state.is_hashing = false;
        Ok(())
    }

    /// Hands what is written to the disk from time to time, so that little is left for the end.
    fn sync_along(&self) -> io::Result<()> {
        let mut state = self.state();
        let total = state.held.total();
        if total - state.synced.min(total) < SYNC_BYTES {
            return Ok(());
        }
        state.synced = total;
        drop(state);
        self.file.sync_data()
    }

    /// Hashes the next bytes, which must be there; the lock is open meanwhile.
    fn hash_on<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        buffer: &mut [u8],
    ) -> io::Result<MutexGuard<'a, State>> {
        let (at, end) = (state.hashed, state.held.prefix());
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let (mut hasher, restarts) = (state.hasher.clone(), state.restarts);
        drop(state);
        self.file.read_exact_at(&mut buffer[..wanted], at)?;
        hasher.update(&buffer[..wanted]);
        state = self.state();
        // Only one hashes at a time; but the bytes may have been thrown away meanwhile.
        if state.restarts == restarts {
            (state.hasher, state.hashed) = (hasher, at + wanted as u64);
        }
        Ok(state)
    }

    /// Hashes what is left, and returns the digest and the size.
    fn finish(&self) -> io::Result<(Digest, u64)> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut state = self.state();
        if state.held.total() != state.held.prefix() {
            return Err(io::Error::other("parts of the file are missing"));
        }
        while state.hashed < state.held.prefix() {
            state = self.hash_on(state, &mut buffer)?;
        }
        Ok((state.hasher.clone().finish(), state.hashed))
    }
}

/// Writes one part of a blob.
pub(super) struct Scribe {
    making: Arc<Making>,
    at: u64,
    /// What lies before this has been noted.
    noted: u64,
    crc: crc32fast::Hasher,
    buffer: Vec<u8>,
}

impl Scribe {
    /// Writes the next bytes, and returns how many wait to be noted. After an error, those before it count.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<u64> {
        while !bytes.is_empty() {
            let written = match self.making.file.write_at(bytes, self.at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.crc.update(&bytes[..written]);
            self.at += written as u64;
            bytes = &bytes[written..];
        }
        Ok(self.at - self.noted)
    }

    /// Takes note of what was written: from now on it counts.
    pub(super) fn note(&mut self) -> io::Result<()> {
        let crc = std::mem::take(&mut self.crc).finalize();
        self.making.state().note(self.noted..self.at, crc)?;
        self.noted = self.at;
        self.making.sync_along()?;
        self.making.hash_along(&mut self.buffer)
    }
}

fn journal_path(partial: &Path) -> PathBuf {
    partial.with_extension("parts")
}

fn is_same_file(file: &File, path: &PathBuf) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}
