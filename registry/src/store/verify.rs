//! Are the bytes of a layer's blob still what its digest says?

use std::fs::File;
use std::io::{self, Read};
use std::time::SystemTime;

use super::Store;
use crate::error::{Error, Result};
use crate::hash::{Hasher, read_all};
use crate::manifest::Layer;

impl Store {
    /// Reads the blob of a layer and compares size and digest. `progress` is told how many bytes have been read, and
    /// says whether to go on. A damaged blob is marked, so that the next pull does not take it for whole.
    pub fn inspect(&self, layer: &Layer, progress: &mut dyn FnMut(u64) -> bool) -> Result<()> {
        let inspected = self.compare(layer, progress);
        if let Err(Error::DigestMismatch { .. }) = inspected
            && let Err(error) = self.distrust(layer)
        {
            // A store that cannot be written still tells what is damaged.
            tracing::debug!(digest = %layer.digest, %error, "damaged blob cannot be marked");
        }
        inspected
    }

    fn compare(&self, layer: &Layer, progress: &mut dyn FnMut(u64) -> bool) -> Result<()> {
        self.check(layer)?;
        let file = self.open_blob(&layer.digest)?;
        let mut hasher = Hasher::default();
        let mut watched = Watched { file, read: 0, progress, is_stopped: false };
        let read = read_all(&mut hasher, &mut watched);
        if watched.is_stopped {
            return Err(Error::Cancelled);
        }
        read.map_err(|cause| self.io(&self.blob_path(&layer.digest), cause))?;
        match hasher.finish() {
            got if got == layer.digest => Ok(()),
            got => Err(Error::DigestMismatch { want: layer.digest, got }),
        }
    }

    /// Gives a blob the time of now, which is later than that of any manifest that names it.
    fn distrust(&self, layer: &Layer) -> io::Result<()> {
        self.own.file(&["blobs", &layer.digest.file_name()])?.set_modified(SystemTime::now())
    }
}

/// A file that tells how far it has been read.
struct Watched<'a> {
    file: File,
    read: u64,
    progress: &'a mut dyn FnMut(u64) -> bool,
    is_stopped: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !(self.progress)(self.read) {
            self.is_stopped = true;
            return Ok(0);
        }
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}
