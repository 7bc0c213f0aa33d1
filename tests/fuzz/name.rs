//! Is a name or digest of any text refused, or the same after it was written and read again?
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelfiles::{Digest, Name, locality};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(name) = Name::parse(&text) {
        check(&name);
    }
    if let Ok((rest, _)) = locality(&text) {
        assert!(text.contains(rest));
        drop(Name::parse(rest));
    }
    if let Ok(digest) = Digest::parse(&text) {
        assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
        assert_eq!(Digest::parse(&digest.file_name()), Ok(digest));
        assert_eq!(Digest::from_hex(&digest.hex()), Some(digest));
        assert!(digest.hex().starts_with(&digest.short()));
        assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
    }
});

fn check(name: &Name) {
    assert_eq!(Name::parse(&name.full()).as_ref(), Ok(name));
    assert_eq!(Name::from_parts(name.parts()).as_ref(), Some(name));
    let short = Name::parse(&name.to_string()).expect("the short form is a name");
    assert!(short.same(name), "'{short}' is not '{name}'");
    // Each is one component of a path.
    for part in name.parts() {
        assert!(
            !part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\\', '\0']),
            "{part:?}"
        );
    }
}
