//! Which tensors does a safetensors file hold, and where? Only what is being read is mapped.
//!
//! A mapping counts as memory of the process as soon as its pages are read, so each tensor gets one of its own, which
//! goes when it has been packed.

use std::{collections::BTreeMap, fs::File, path::Path};

use candle_core::{DType, Device, Tensor};
use memmap2::{Mmap, MmapOptions};
use safetensors::{SafeTensors, tensor::TensorInfo};

use super::Header;
use crate::Error;

/// The open safetensors files of a folder; a later one wins where two hold a tensor of the same name.
pub(super) struct Mapped {
    files: Vec<File>,
    places: BTreeMap<String, Place>,
}

struct Place {
    file: usize,
    /// Of the first byte in the file.
    offset: u64,
    bytes: usize,
    header: Header,
}

impl Mapped {
    /// Reads the headers, and checks them against the sizes of the files.
    pub(super) fn open<'a>(
        file: &str,
        paths: impl Iterator<Item = &'a Path>,
    ) -> Result<Self, Error> {
        let mut mapped = Self { files: Vec::new(), places: BTreeMap::new() };
        for path in paths {
            mapped.add(path).map_err(|problem| Error::file(file, problem))?;
        }
        Ok(mapped)
    }

    fn add(&mut self, path: &Path) -> Result<(), String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let whole = map(&file, 0, None).map_err(|e| e.to_string())?;
        let (length, metadata) = SafeTensors::read_metadata(&whole).map_err(|e| e.to_string())?;
        let start = (length + size_of::<u64>()) as u64;
        for (name, info) in metadata.tensors() {
            if let Some(place) = place(self.files.len(), start, info) {
                self.places.insert(name, place);
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// Returns shapes and element types by name.
    pub(super) fn headers(&self) -> BTreeMap<String, Header> {
        self.places.iter().map(|(name, place)| (name.clone(), place.header.clone())).collect()
    }

    /// Maps the bytes of a tensor; `None` where it has none or is not there.
    pub(super) fn map(&self, name: &str) -> std::io::Result<Option<Mmap>> {
        let Some(place) = self.places.get(name).filter(|place| place.bytes > 0) else {
            return Ok(None);
        };
        map(&self.files[place.file], place.offset, Some(place.bytes)).map(Some)
    }

    /// Reads a tensor as it is stored.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, Error> {
        let Some(bytes) = self.map(name).map_err(candle_core::Error::from)? else {
            return Ok(None);
        };
        let header = &self.places[name].header;
        Ok(Some(Tensor::from_raw_buffer(&bytes, header.dtype, &header.shape, &Device::Cpu)?))
    }
}

fn place(file: usize, start: u64, info: &TensorInfo) -> Option<Place> {
    let dtype = DType::try_from(info.dtype).ok()?;
    let (from, to) = info.data_offsets;
    let header = Header { shape: info.shape.clone(), dtype };
    Some(Place { file, offset: start + from as u64, bytes: to - from, header })
}

/// Maps some bytes of a file, or all from an offset.
pub(crate) fn map(file: &File, offset: u64, bytes: Option<usize>) -> std::io::Result<Mmap> {
    let mut options = MmapOptions::new();
    options.offset(offset);
    if let Some(bytes) = bytes {
        options.len(bytes);
    }
    #[expect(unsafe_code, reason = "a mapping is what makes a load take milliseconds")]
    // SAFETY: files of the store are never changed after the rename that makes them visible, and a file that somebody
    // truncates all the same ends this process, as it would any that maps it.
    unsafe {
        options.map(file)
    }
}
