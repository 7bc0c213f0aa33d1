//! How is a file of a store reached? From the store's folder, a name at a time, and never through a link.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::format;
use crate::error::{Error, Result};

/// The folders of a store.
const FOLDERS: [&str; 3] = ["manifests", "blobs", "staging"];
/// What we create has these modes, 644 and 755, whatever the process's umask is.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::ROTH);
const FOLDER_MODE: Mode = FILE_MODE.union(Mode::XUSR).union(Mode::XGRP).union(Mode::XOTH);

/// The folder of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// Where it is, without a link on the way.
    pub(super) path: Arc<Path>,
    /// Somebody else made it, so what lies in it without a use may be of use to them.
    pub(super) is_foreign: bool,
}

impl Root {
    /// Opens the folder of a store, and creates it where it is missing.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let io = |cause| Error::Io { path: path.to_owned(), cause };
        if !path.is_dir() {
            fs::create_dir_all(path).map_err(io)?;
            rustix::fs::chmod(path, FOLDER_MODE).map_err(|errno| io(errno.into()))?;
        }
        let path = Arc::from(path.canonicalize().map_err(io)?);
        let mut root = Self { path, is_foreign: false };
        root.refuse_links()?;
        // What is there must be known before it is known whose it is: whoever makes a store says so first.
        let was_there = ["manifests", "blobs"].iter().any(|name| root.stat(&[name]).is_ok());
        let is_ours = format::read(&root)?;
        root.is_foreign = was_there && !is_ours;
        if !was_there && !is_ours {
            format::write(&root)?;
        }
        for name in FOLDERS {
            // A store that cannot be written can still be read.
            if let Err(error) = root.make_folders(&[name]) {
                tracing::debug!(name, %error, "folder cannot be created");
            }
        }
        Ok(root)
    }

    /// Opens the folder of a store that is only read; one that is not there may come later.
    pub(super) fn look(path: &Path) -> Result<Self> {
        let found = path.canonicalize().unwrap_or_else(|_missing| path.to_owned());
        let root = Self { path: Arc::from(found), is_foreign: true };
        root.refuse_links()?;
        format::read(&root)?;
        Ok(root)
    }

    /// Refuses a store a folder of which is a link, as nothing in it would ever be found.
    fn refuse_links(&self) -> Result<()> {
        let is_link = |name: &&str| {
            self.stat(&[name]).is_ok_and(|stat| file_type(&stat) == FileType::Symlink)
        };
        let Some(name) = FOLDERS.into_iter().find(is_link) else { return Ok(()) };
        let folder = self.path.display();
        Err(Error::Corrupt(format!(
            "'{name}' in the store '{folder}' is a link, and none is followed there; the whole store may be one"
        )))
    }

    /// Returns where these names lead.
    pub(super) fn path_of(&self, names: &[&str]) -> PathBuf {
        let mut path = self.path.to_path_buf();
        path.extend(names);
        path
    }

    /// Opens the folder that these names lead to.
    pub(super) fn folder(&self, names: &[&str]) -> io::Result<OwnedFd> {
        names.iter().try_fold(self.open()?, |folder, name| step(&folder, name))
    }

    /// Opens the folders that these names lead through, the store's own first.
    pub(super) fn folders(&self, names: &[&str]) -> io::Result<Vec<OwnedFd>> {
        self.walk(names, step)
    }

    /// Does what [`Self::folders`] does, and creates those that are missing.
    pub(super) fn make_folders(&self, names: &[&str]) -> io::Result<Vec<OwnedFd>> {
        self.walk(names, |folder, name| match step(folder, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = match rustix::fs::mkdirat(folder, name, FOLDER_MODE) {
                    Err(Errno::EXIST) => return step(folder, name),
                    made => made.map_err(io::Error::from).and_then(|()| step(folder, name))?,
                };
                rustix::fs::fchmod(&made, FOLDER_MODE)?;
                Ok(made)
            }
            other => other,
        })
    }

    fn walk(
        &self,
        names: &[&str],
        step: impl Fn(&OwnedFd, &str) -> io::Result<OwnedFd>,
    ) -> io::Result<Vec<OwnedFd>> {
        let mut folders = vec![self.open()?];
        for name in names {
            let next = folders.last().map(|folder| step(folder, name));
            folders.extend(next.transpose()?);
        }
        Ok(folders)
    }

    fn open(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(&*self.path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Opens the regular file that these names lead to.
    pub(super) fn file(&self, names: &[&str]) -> io::Result<File> {
        let Some((name, folders)) = names.split_last() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        open_file(&self.folder(folders)?, name)
    }

    /// Opens a file to be written, and creates it where it is missing.
    pub(super) fn file_to_write(&self, name: &str) -> io::Result<File> {
        let folder = self.open()?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        loop {
            match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {}
                file => return Ok(file?.into()),
            }
            match new_file(&folder, name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return file,
            }
        }
    }

    /// Returns the size of the regular file that these names lead to.
    pub(super) fn size_of(&self, names: &[&str]) -> Option<u64> {
        let stat = self.stat(names).ok()?;
        (file_type(&stat) == FileType::RegularFile).then(|| size(&stat))
    }

    /// Removes the file that these names lead to, if it is there.
    pub(super) fn remove_file(&self, names: &[&str]) -> io::Result<()> {
        let Some((name, folders)) = names.split_last() else { return Ok(()) };
        match self.folder(folders).and_then(|folder| remove(&folder, name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn stat(&self, names: &[&str]) -> io::Result<Stat> {
        let Some((name, folders)) = names.split_last() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        stat(&self.folder(folders)?, name)
    }
}

/// Opens a folder in a folder.
pub(super) fn step(folder: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => {
            let text = format!("'{name}' is no folder, and links are not followed");
            io::Error::new(io::ErrorKind::NotADirectory, text)
        }
        error => error.into(),
    })
}

/// Opens a regular file in a folder; a device is not even touched.
pub(super) fn open_file(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let no_file = || io::Error::new(io::ErrorKind::NotFound, "not a regular file");
    if file_type(&stat(folder, name)?) != FileType::RegularFile {
        return Err(no_file());
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
    // It may have become something else in between.
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

/// Creates a file in a folder.
pub(super) fn new_file(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, FILE_MODE)?;
    rustix::fs::fchmod(&file, FILE_MODE)?;
    Ok(file.into())
}

/// Writes a file as a whole: whoever reads it sees the old one or the new one. It is written in the folder `aside`.
pub(super) fn put(aside: &OwnedFd, folder: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = temporary_file(aside)?;
    let mut put = || {
        file.write_all(bytes)?;
        file.sync_all()?;
        rustix::fs::renameat(aside, &temporary, folder, name)?;
        Ok(rustix::fs::fsync(folder)?)
    };
    put().inspect_err(|_| drop(remove(aside, &temporary)))
}

/// Creates a file under a name that nobody else takes.
fn temporary_file(folder: &OwnedFd) -> io::Result<(String, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("text-{}-{number}", std::process::id());
        match new_file(folder, &name) {
            // A process of the same number left it behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Ok((name, file?)),
        }
    }
}

/// Removes what is no folder.
pub(super) fn remove(folder: &OwnedFd, name: &str) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
}

/// Removes a folder that is empty.
pub(super) fn remove_folder(folder: &OwnedFd, name: &str) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Returns what a name stands for; a link stands for itself.
pub(super) fn stat(folder: &OwnedFd, name: &str) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Returns what kind of thing a name stands for.
pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns the size of a file.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Returns the names in a folder that are texts, and what they stand for.
pub(super) fn entries(folder: &OwnedFd) -> io::Result<Vec<(String, FileType)>> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Not every file system says it here.
            FileType::Unknown => {
                stat(folder, name).map_or(FileType::Unknown, |stat| file_type(&stat))
            }
            kind => kind,
        };
        found.push((name.to_owned(), kind));
    }
    Ok(found)
}
