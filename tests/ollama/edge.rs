//! What meets a request before any handler: its path, its method, its origin and its host?
//!
//! Most of it was recorded; here is what depends on settings, and what a browser asks first.

use crate::support::{Daemon, http};

fn header(headers: &[(String, String)], name: &str) -> String {
    let values = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" + ")
}

#[test]
fn the_heartbeat_is_the_text_that_tools_look_for() {
    let daemon = Daemon::start(&[]);
    let (status, headers, text) = http(&daemon.url, "GET", "/", &[], b"");
    assert_eq!((status, text.as_str()), (200, "Ollama is running"));
    assert_eq!(header(&headers, "content-type"), "text/plain; charset=utf-8");
    for path in ["/", "/api/version", "/api/tags"] {
        let (status, _, text) = http(&daemon.url, "HEAD", path, &[], b"");
        assert_eq!((status, text.as_str()), (200, ""), "{path}");
    }
    let (status, headers, _) = http(&daemon.url, "HEAD", "/api/ps", &[], b"");
    assert_eq!((status, header(&headers, "allow").as_str()), (405, "GET"));
    // Ours: a route for those who only ask whether the service lives.
    assert_eq!(http(&daemon.url, "GET", "/health", &[], b"").2, r#"{"status":"ok"}"#);
}

#[test]
fn a_browser_is_told_what_it_may_send() {
    let daemon = Daemon::start(&[("OLLAMA_ORIGINS", "https://app.example,http://*.lan")]);
    for (origin, allowed) in [
        ("https://app.example", true),
        ("http://box.lan", true),
        ("https://box.lan", false),
        ("http://localhost:3000", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let sent = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        let (status, headers, text) = http(&daemon.url, "OPTIONS", "/api/embed", &sent, b"");
        assert_eq!((status, text.as_str()), (if allowed { 204 } else { 403 }, ""), "{origin}");
        if allowed {
            assert_eq!(header(&headers, "access-control-allow-origin"), origin);
            let methods = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";
            assert_eq!(header(&headers, "access-control-allow-methods"), methods);
            assert_eq!(header(&headers, "access-control-max-age"), "43200");
            let varies = "Origin + Access-Control-Request-Method + Access-Control-Request-Headers";
            assert_eq!(header(&headers, "vary"), varies);
            let names = header(&headers, "access-control-allow-headers");
            let first =
                "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,";
            assert!(names.starts_with(first), "{names}");
        }
    }
}

#[test]
fn a_host_that_is_not_this_machine_is_refused() {
    let daemon = Daemon::start(&[]);
    let table = [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("box.internal", 200),
        ("a.localhost:1", 200),
        ("[::1]:5", 200),
        ("192.168.7.7", 200),
        ("0.0.0.0", 200),
        ("evil.example", 403),
        ("8.8.8.8:11434", 403),
        ("localhost.evil.example", 403),
    ];
    for (host, wanted) in table {
        let (status, _, text) = http(&daemon.url, "GET", "/api/version", &[("Host", host)], b"");
        assert_eq!((status, text.is_empty()), (wanted, wanted == 403), "{host}");
    }
}
