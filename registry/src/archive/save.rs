//! How do models get into an archive?

use std::collections::BTreeMap;
use std::io::{Read as _, Write};

use modelfiles::{Digest, Name};
use tar::{EntryType, Header};

use super::{BLOBS, BUFFER_BYTES, ENTRIES_LIMIT, INDEX, INDEX_TYPE, Index, LAYOUT, Layout, Named};
use super::{REF_NAME, unusable};
use crate::error::{Error, Result};
use crate::hash::Hasher;
use crate::manifest::{Layer, Manifest, OCI_MANIFEST_TYPE};
use crate::store::Store;

/// Bytes of a header, which everything in a tar archive fills up to.
const BLOCK: u64 = 512;

/// Models that are ready to be written into one file.
pub struct Packed {
    store: Store,
    layout: Vec<u8>,
    index: Vec<u8>,
    blobs: BTreeMap<Digest, Content>,
}

enum Content {
    Manifest(Vec<u8>),
    /// A blob of the store, with its size.
    Blob(u64),
}

impl Store {
    /// Gathers models for an archive; all their blobs must be there.
    pub fn pack(&self, names: &[Name]) -> Result<Packed> {
        let mut models = BTreeMap::new();
        let mut blobs = BTreeMap::new();
        for name in names {
            let (name, bytes) = self.manifest_of(name)?;
            let manifest = Manifest::parse(&bytes).map_err(|error| {
                Error::Corrupt(format!("manifest of '{name}' is damaged: {error}"))
            })?;
            self.require(&manifest)?;
            let content = |layer: &Layer| (layer.digest, Content::Blob(layer.size));
            blobs.extend(manifest.blobs().map(content));
            let digest = crate::digest_of(&bytes);
            models.insert(name.full(), named(&name, digest, &manifest, bytes.len()));
            blobs.insert(digest, Content::Manifest(bytes));
        }
        if blobs.len() + 2 > ENTRIES_LIMIT {
            let text = format!("the models have more than {ENTRIES_LIMIT} files");
            return Err(Error::Unusable(text));
        }
        let index = Index {
            schema_version: 2,
            media_type: INDEX_TYPE.to_owned(),
            manifests: models.into_values().collect(),
        };
        let layout = Layout { version: "1.0.0".to_owned() };
        Ok(Packed { store: self.clone(), layout: json(&layout)?, index: json(&index)?, blobs })
    }
}

fn named(name: &Name, digest: Digest, manifest: &Manifest, size: usize) -> Named {
    let media_type = match manifest.media_type.as_str() {
        "" => OCI_MANIFEST_TYPE.to_owned(),
        told => told.to_owned(),
    };
    let annotations = BTreeMap::from([(REF_NAME.to_owned(), name.full())]);
    Named { media_type, digest, size: size as u64, annotations }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Corrupt(error.to_string()))
}

impl Packed {
    /// Returns the size of the archive.
    pub fn size_bytes(&self) -> u64 {
        let blobs = self.blobs.values().map(|content| match content {
            Content::Manifest(bytes) => bytes.len() as u64,
            Content::Blob(size) => *size,
        });
        let sizes = blobs.chain([self.layout.len() as u64, self.index.len() as u64]);
        let entry = |size: u64| BLOCK + size.next_multiple_of(BLOCK);
        sizes.map(entry).fold(2 * BLOCK, u64::saturating_add)
    }

    /// Writes the archive; the same models give the same bytes. Blobs are compared with their digests.
    pub fn write(&self, to: &mut impl Write) -> Result<()> {
        write_entry(to, LAYOUT, &self.layout)?;
        write_entry(to, INDEX, &self.index)?;
        for (digest, content) in &self.blobs {
            let path = format!("{BLOBS}{}", digest.hex());
            match content {
                Content::Manifest(bytes) => write_entry(to, &path, bytes)?,
                Content::Blob(size) => self.write_blob(to, &path, digest, *size)?,
            }
        }
        to.write_all(&[0; 2 * BLOCK as usize]).and_then(|()| to.flush()).map_err(unwritten)
    }

    fn write_blob(
        &self,
        to: &mut impl Write,
        path: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<()> {
        let (mut file, mut left) = (self.store.open_blob_of(digest)?, size);
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        to.write_all(header(path, size)?.as_bytes()).map_err(unwritten)?;
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let read = file.read(&mut buffer[..most]);
            let read = read.map_err(|cause| self.store.io(&self.store.blob_path(digest), cause))?;
            if read == 0 {
                return Err(Error::Corrupt(format!("blob {digest} has become shorter")));
            }
            hasher.update(&buffer[..read]);
            to.write_all(&buffer[..read]).map_err(unwritten)?;
            left -= read as u64;
        }
        match hasher.finish() {
            got if got == *digest => pad(to, size),
            got => Err(Error::DigestMismatch { want: *digest, got }),
        }
    }
}

fn write_entry(to: &mut impl Write, path: &str, bytes: &[u8]) -> Result<()> {
    let size = bytes.len() as u64;
    let header = header(path, size)?;
    to.write_all(header.as_bytes()).and_then(|()| to.write_all(bytes)).map_err(unwritten)?;
    pad(to, size)
}

fn pad(to: &mut impl Write, size: u64) -> Result<()> {
    let padding = size.next_multiple_of(BLOCK) - size;
    let padding = usize::try_from(padding).unwrap_or_default();
    to.write_all(&[0; BLOCK as usize][..padding]).map_err(unwritten)
}

/// Returns a header that says nothing of this machine and this time.
fn header(path: &str, size: u64) -> Result<Header> {
    let mut header = Header::new_gnu();
    header.set_path(path).map_err(unusable)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

fn unwritten(cause: std::io::Error) -> Error {
    Error::io("".as_ref(), "archive".as_ref(), cause)
}
