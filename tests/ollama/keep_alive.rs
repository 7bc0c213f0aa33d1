//! How long does a model stay, as `/api/ps` tells it?

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::ask::{fails, get, loaded, make, ok, soon, tiny};
use crate::support::Daemon;

/// A year of 365 days, in seconds.
const YEAR: f64 = 365.0 * 86_400.0;
/// What may pass between the answer of the daemon and our look at the clock.
const SLACK: f64 = 3.0;

fn embed(daemon: &Daemon, keep_alive: &Value) {
    let body = json!({ "model": "tiny", "input": "a", "keep_alive": keep_alive });
    ok(daemon, "/api/embed", &body);
}

/// Returns how many seconds the only loaded model will stay.
fn remaining(daemon: &Daemon) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let models = get(daemon, "/api/ps");
    let [model] = models["models"].as_array().unwrap().as_slice() else { panic!("{models}") };
    seconds(model["expires_at"].as_str().unwrap()) - now
}

/// Returns the seconds since 1970 of a moment in RFC 3339 and UTC.
fn seconds(moment: &str) -> f64 {
    let parts: Vec<f64> =
        moment.trim_end_matches('Z').split(['-', 'T', ':']).map(|n| n.parse().unwrap()).collect();
    let [year, month, day, hour, minute, second] = parts[..] else { panic!("{moment}") };
    // Counted from March, the leap day is the last of the year.
    let (year, month) = if month < 3.0 { (year - 1.0, month + 9.0) } else { (year, month - 3.0) };
    let leaps = (year / 4.0).floor() - (year / 100.0).floor() + (year / 400.0).floor();
    let days = 365.0 * year + leaps + ((153.0 * month + 2.0) / 5.0).floor() + day - 719_469.0;
    ((days * 24.0 + hour) * 60.0 + minute) * 60.0 + second
}

#[test]
fn a_number_is_seconds_and_a_text_is_a_duration() {
    let forever = (292.0 * YEAR, 293.0 * YEAR);
    let about = |seconds: f64| (seconds - SLACK, seconds);
    let table = [
        (json!(null), about(300.0)),
        (json!(42.5), about(42.5)),
        (json!("5m"), about(300.0)),
        (json!("1h30m"), about(5400.0)),
        (json!("2h45m0.5s"), about(9900.5)),
        (json!("100000h"), about(3.6e8)),
        // Said nothing, the last value stays.
        (json!(null), about(3.6e8)),
        (json!(-1), forever),
        (json!(-2.5), forever),
        (json!("-1m"), forever),
        // In Ollama this overflows and unloads.
        (json!(1e10), forever),
        (json!(7), about(7.0)),
    ];
    let daemon = tiny(&[]);
    for (keep_alive, (least, most)) in table {
        embed(&daemon, &keep_alive);
        let remaining = remaining(&daemon);
        assert!(remaining >= least && remaining <= most + 0.1, "{keep_alive}: {remaining}");
    }
}

#[test]
fn zero_unloads_after_the_request() {
    let daemon = tiny(&[]);
    for keep_alive in [json!(0), json!(0.0), json!("0"), json!("0s"), json!("1ns"), json!("50ms")] {
        for input in [json!("a"), Value::Null] {
            let body = json!({ "model": "tiny", "input": input, "keep_alive": keep_alive });
            ok(&daemon, "/api/embed", &body);
            soon("the model is unloaded", || loaded(&daemon).is_empty());
        }
    }
    let body = json!({ "model": "tiny", "prompt": "a", "keep_alive": 0 });
    ok(&daemon, "/api/embeddings", &body);
    soon("the model is unloaded", || loaded(&daemon).is_empty());
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_else() {
    let daemon = Daemon::start(&[]);
    let table = [
        (json!("60"), r#"time: missing unit in duration "60""#),
        (json!("-1"), r#"time: missing unit in duration "-1""#),
        (json!("5 m"), r#"time: unknown unit " m" in duration "5 m""#),
        (json!("1d"), r#"time: unknown unit "d" in duration "1d""#),
        (json!("3000000h"), r#"time: invalid duration "3000000h""#),
        (json!("abc"), r#"time: invalid duration "abc""#),
        (json!(""), r#"time: invalid duration """#),
        (json!(true), "Unsupported type: 'bool'"),
        (json!({}), "Unsupported type: 'map[string]interface {}'"),
        (json!([]), "Unsupported type: '[]interface {}'"),
    ];
    for (keep_alive, text) in table {
        for path in ["/api/embed", "/api/embeddings", "/api/generate", "/api/chat"] {
            let body = json!({ "model": 5, "input": 5, "keep_alive": keep_alive });
            fails(&daemon, path, &body, 400, text);
        }
    }
}

#[test]
fn the_default_comes_from_the_variable_and_the_model_goes_before_it() {
    for (text, wanted) in [("60", 60.0), ("1h2m3s", 3723.0), ("-1", 292.0 * YEAR), ("1d", 300.0)] {
        let daemon = tiny(&[("OLLAMA_KEEP_ALIVE", text)]);
        embed(&daemon, &Value::Null);
        let remaining = remaining(&daemon);
        assert!((wanted - SLACK..wanted + YEAR).contains(&remaining), "{text}: {remaining}");
    }
    // A model that says how long it stays is ours alone.
    let daemon = Daemon::start(&[("OLLAMA_KEEP_ALIVE", "60")]);
    make(&daemon, "tiny", "bert-mean", &json!({ "keep_alive": "20m" }));
    embed(&daemon, &Value::Null);
    assert!((1200.0 - SLACK..1200.1).contains(&remaining(&daemon)));
}
