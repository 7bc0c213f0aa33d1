//! How are files sent ahead of `create`?

use serde_json::json;

use super::ask::upload;
use crate::support::{Daemon, http};

#[test]
fn a_blob_is_what_its_digest_says() {
    let daemon = Daemon::start(&[]);
    let bytes = vec![b'x'; 300_000];
    let digest = registry::digest_of(&bytes);
    let ask = |method: &str, digest: &str, bytes: &[u8]| {
        let (status, _, text) =
            http(&daemon.url, method, &format!("/api/blobs/{digest}"), &[], bytes);
        (status, text)
    };
    let (colon, dash) = (digest.to_string(), digest.file_name());
    let nothing = |status| (status, String::new());
    assert_eq!(ask("HEAD", &colon, b""), nothing(404));
    let other = registry::digest_of(b"other");
    let text = format!(r#"digest mismatch, expected "{colon}", got "{other}""#);
    assert_eq!(ask("POST", &colon, b"other"), (400, json!({ "error": text }).to_string()));
    assert_eq!(ask("HEAD", &colon, b""), nothing(404));
    // Ollama keeps what it got under its true digest; here it is dropped.
    assert_eq!(ask("HEAD", &other.to_string(), b""), nothing(404));
    assert_eq!(ask("POST", &colon, &bytes), nothing(201));
    assert_eq!(ask("HEAD", &colon, b""), nothing(200));
    assert_eq!(ask("HEAD", &dash, b""), nothing(200));
    assert_eq!(ask("POST", &dash, &bytes), nothing(200));
    let invalid = json!({ "error": "invalid digest format" }).to_string();
    for bad in ["sha256:zz", "foo", "md5:00", &colon[..70], &format!("{colon}0")] {
        assert_eq!(ask("POST", bad, b""), (400, invalid.clone()), "{bad}");
        assert_eq!(ask("HEAD", bad, b""), nothing(400), "{bad}");
    }
    assert_eq!(ask("GET", &colon, b"").0, 405);
    assert_eq!(ask("DELETE", &colon, b"").0, 405);
}

/// A blob that is there already is not read again, so a client may stop sending it.
#[test]
fn an_empty_blob_is_a_blob() {
    let daemon = Daemon::start(&[]);
    let files = upload(&daemon, vec![("empty".to_owned(), Vec::new())]);
    let digest = files["empty"].as_str().unwrap();
    let (status, ..) = http(&daemon.url, "POST", &format!("/api/blobs/{digest}"), &[], b"other");
    assert_eq!(status, 200);
}
