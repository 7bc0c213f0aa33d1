//! Whatever text is given as a name, a digest or a manifest: does it go in and out whole, or is it refused?

use modelfiles::{Digest, Name, locality};
use registry::{Layer, Manifest, digest_of, media};

use crate::store::{store, write_manifest};
use crate::world::name;

/// Inputs of each kind.
const CASES: u64 = 20_000;

/// A generator of numbers that look random and are the same every time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Returns a text of such pieces as make trouble.
    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| *self.pick(pieces)).collect()
    }

    /// Changes a text in a few places.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next().to_le_bytes()[0]),
                2 if at < bytes.len() => bytes[at] = self.next().to_le_bytes()[0],
                _ => bytes.splice(at..at, *b"[{\"").for_each(drop),
            }
        }
    }
}

const PIECES: &[&str] = &[
    "a",
    "Z",
    "_",
    "0",
    "-",
    ".",
    "..",
    ":",
    "/",
    "\\",
    "@",
    "%2e",
    " ",
    "\0",
    "\n",
    "é",
    "\u{202e}",
    "😀",
    "latest",
    "library",
    "hf.co",
    "http://",
    "sha256",
    "registry.ollama.ai",
    ":local",
    "-cloud",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

#[test]
fn a_name_leads_into_the_store_or_is_none() {
    let (_folder, store) = store();
    let mut random = Random(1);
    let mut valid = 0;
    for _ in 0..CASES {
        let text = random.text(PIECES, 8);
        drop(locality(&text));
        let Ok(name) = Name::parse(&text) else { continue };
        valid += 1;
        assert_eq!(Name::parse(&name.full()), Ok(name.clone()), "{text:?}");
        assert_eq!(Name::parse(&name.to_string()), Ok(name.clone()), "{text:?}");
        assert_eq!(Name::from_parts(name.parts()), Some(name.clone()), "{text:?}");
        let path = store.manifest_paths(&name).next().unwrap();
        let inside = path.strip_prefix(store.root().join("manifests")).unwrap();
        let parts: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
        assert_eq!(parts, name.parts(), "{text:?}");
        assert!(parts.iter().all(|part| !part.starts_with('.')), "{text:?}");
    }
    assert!(valid > 100, "{valid}");
}

#[test]
fn a_digest_is_read_as_it_is_written_or_not_at_all() {
    let mut random = Random(2);
    for _ in 0..CASES {
        let digest = digest_of(&random.next().to_le_bytes());
        for text in [digest.to_string(), digest.file_name(), digest.file_name().to_uppercase()] {
            let same = text.replacen("SHA256", "sha256", 1);
            assert_eq!(Digest::parse(&same), Ok(digest));
        }
        let mut bytes = digest.to_string().into_bytes();
        random.spoil(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(read) = Digest::parse(&text) {
            let hex = &text["sha256:".len()..];
            assert_eq!((hex.len(), read.hex()), (64, hex.to_lowercase()), "{text:?}");
        }
        Digest::parse(&random.text(PIECES, 8)).unwrap_err();
    }
}

fn manifest(random: &mut Random) -> Manifest {
    let mut layer = |named: bool| {
        let blob = (digest_of(&random.next().to_le_bytes()), random.next());
        let media = *random.pick(&[media::FILE, media::GGUF, media::LICENSE, media::PARAMS, ""]);
        let mut layer = if named {
            Layer::file(&random.text(PIECES, 4), blob)
        } else {
            Layer::new(media, blob)
        };
        layer.from = (random.below(4) == 0).then(|| random.text(PIECES, 3));
        layer
    };
    let config = layer(false);
    let layers: Vec<Layer> = [true, false, true, false].into_iter().map(&mut layer).collect();
    let count = random.below(layers.len() + 1);
    let mut manifest = Manifest::new(config, layers.into_iter().take(count).collect());
    for _ in 0..random.below(3) {
        manifest.annotations.insert(random.text(PIECES, 3), random.text(PIECES, 3));
    }
    manifest
}

#[test]
fn a_manifest_is_read_as_it_is_written() {
    let mut random = Random(3);
    for _ in 0..CASES / 10 {
        let manifest = manifest(&mut random);
        let bytes = manifest.to_bytes().unwrap();
        assert_eq!(Manifest::parse(&bytes).as_ref(), Ok(&manifest));
        let size = manifest.blobs().fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
        assert_eq!(manifest.size_bytes(), size);
    }
}

#[test]
fn a_spoilt_manifest_is_refused_or_means_something() {
    let (_folder, store) = store();
    let mut random = Random(4);
    for case in 0..CASES / 10 {
        let mut bytes = manifest(&mut random).to_bytes().unwrap();
        random.spoil(&mut bytes);
        if let Ok(read) = Manifest::parse(&bytes) {
            let again = read.to_bytes().unwrap();
            assert_eq!(Manifest::parse(&again).as_ref(), Ok(&read));
        }
        if case % 20 == 0 {
            write_manifest(&store, "h/n/m/t", &String::from_utf8_lossy(&bytes));
            let found = store.find(&name("h/n/m:t"));
            drop(store.list().unwrap());
            // None of its blobs is there, and its names may lead anywhere.
            found.map(|model| store.files(&model).map(|files| assert_eq!(files.len(), 0))).ok();
            store.remove(&name("h/n/m:t")).unwrap();
        }
    }
}
