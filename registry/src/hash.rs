//! What is the SHA-256 of some bytes? The only file that names the hash crate.

use std::io::{self, Read};

use modelfiles::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes read at once while a file is hashed.
const BUFFER_BYTES: usize = 1 << 17;

/// A digest in the making.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Takes in the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of everything taken in.
    pub(crate) fn finish(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

/// Returns the digest of the bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Returns the digest and the size of a file.
pub fn digest_file(path: &std::path::Path) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::default();
    let size = read_all(&mut hasher, &mut std::fs::File::open(path)?)?;
    Ok((hasher.finish(), size))
}

/// Feeds everything the reader holds to the hasher, and returns the number of bytes.
pub(crate) fn read_all(hasher: &mut Hasher, reader: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        total += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_of(b"").hex(), empty);
        assert_eq!(digest_of(b"abc").hex(), abc);
        let mut hasher = Hasher::default();
        assert_eq!(read_all(&mut hasher, &mut &b"abc"[..]).unwrap(), 3);
        assert_eq!(hasher.finish().hex(), abc);
    }
}
