//! Where results go: to standard output as they come, or into a file that appears once it is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::output;

/// Takes text until it is finished; a file that is not is as if nothing had been written.
pub(crate) struct Sink {
    writer: BufWriter<Box<dyn Write>>,
    replacement: Option<Replacement>,
}

impl Sink {
    /// Opens the file, or standard output when there is none.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::direct(io::stdout())) };
        let opened = match path.metadata() {
            // What is no file, such as /dev/null or a pipe, cannot be replaced.
            Ok(metadata) if !metadata.is_file() => File::create(path).map(Self::direct),
            _ => Self::replacing(path),
        };
        opened.with_context(|| format!("cannot write '{}'", path.display()))
    }

    fn direct(writer: impl Write + 'static) -> Self {
        Self { writer: BufWriter::new(Box::new(writer)), replacement: None }
    }

    fn replacing(path: &Path) -> io::Result<Self> {
        let replacement = Replacement::new(path)?;
        let mut sink = Self::direct(replacement.file.try_clone()?);
        sink.replacement = Some(replacement);
        Ok(sink)
    }

    /// Writes the text; standard output has it before this returns.
    pub(crate) fn write(&mut self, text: &str) -> Result<()> {
        output::checked(self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()))
    }

    /// Writes bytes, some of which may wait for `finish`.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        output::checked(self.writer.write_all(bytes))
    }

    /// Writes what waits, and puts the file in its place.
    pub(crate) fn finish(mut self) -> Result<()> {
        output::checked(self.writer.flush())?;
        let Some(replacement) = self.replacement else { return Ok(()) };
        let target = replacement.target.display().to_string();
        replacement.put().with_context(|| format!("cannot write '{target}'"))
    }
}

/// A file beside the one whose place it takes; it goes when it is dropped before.
struct Replacement {
    file: File,
    part: PathBuf,
    target: PathBuf,
}

impl Replacement {
    fn new(path: &Path) -> io::Result<Self> {
        // A link stays a link to the new content.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut name = OsString::from(".");
        name.push(target.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
        name.push(".part");
        let part = target.with_file_name(name);
        // What a killed command left there is worth nothing.
        drop(fs::remove_file(&part));
        let file = File::create_new(&part)?;
        if let Ok(metadata) = target.metadata() {
            file.set_permissions(metadata.permissions())?;
        }
        Ok(Self { file, part, target })
    }

    fn put(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.part, &self.target)
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // After `put` there is nothing left to remove.
        drop(fs::remove_file(&self.part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(folder).expect("folder");
        entries.map(|entry| entry.expect("entry").file_name()).collect()
    }

    #[test]
    fn a_file_stays_as_it_is_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notes.txt");
        fs::write(&path, "old").expect("written");
        let mut sink = Sink::open(Some(&path)).expect("open");
        sink.write("half").expect("written");
        drop(sink);
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
        let mut sink = Sink::open(Some(&path)).expect("open");
        sink.write("new").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
        sink.finish().expect("finished");
        assert_eq!(fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(names(folder.path()), ["notes.txt"]);
    }

    #[test]
    fn what_is_no_file_is_written_directly() {
        let mut sink = Sink::open(Some(Path::new("/dev/null"))).expect("open");
        sink.write("text").expect("written");
        sink.finish().expect("finished");
        let error = Sink::open(Some(Path::new("/nowhere/x"))).err().expect("no folder");
        assert_eq!(error.to_string(), "cannot write '/nowhere/x'");
    }
}
