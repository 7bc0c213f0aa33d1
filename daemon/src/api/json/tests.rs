//! Is a body read as Go reads it, with its errors word for word?

use std::time::Duration;

use modelfiles::duration::KeepAlive;
use serde_json::json;

use super::{DecodeError, Input, Object, object};

fn read(body: &str) -> Object<'_> {
    object("api.EmbedRequest", body.as_bytes()).unwrap()
}

/// Returns why a body is refused.
fn refused(body: &[u8]) -> String {
    object("api.EmbedRequest", body).unwrap_err().to_string()
}

fn said<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn bodies_that_are_no_object_have_gos_words() {
    let go = |kind| format!("json: cannot unmarshal {kind} into Go value of type api.EmbedRequest");
    let table: [(&[u8], String); 12] = [
        (b"", "missing request body".to_owned()),
        (b" \n\t", "missing request body".to_owned()),
        (b"{\"model\":", "unexpected EOF".to_owned()),
        (b"xyz", "invalid character 'x' looking for beginning of value".to_owned()),
        (b"\xef\xbb\xbf{}", "invalid character '\u{ef}' looking for beginning of value".to_owned()),
        (b"\xff{}", "invalid character '\u{ff}' looking for beginning of value".to_owned()),
        (b"{\"a\":\"\n\"}", "invalid character '\\n' in string literal".to_owned()),
        (b"[1]", go("array")),
        (b"\"a\"", go("string")),
        (b"5 x", go("number")),
        (b"true", go("bool")),
        (b"[1", "unexpected EOF".to_owned()),
    ];
    for (body, text) in table {
        assert_eq!(refused(body), text, "{body:?}");
    }
    assert_eq!(read("null").string("model"), Ok(None));
}

#[test]
fn names_are_compared_without_case_and_the_last_one_wins() {
    let body = read(r#"{"model":"a","MODEL":"b","x":1} trailing {"#);
    assert_eq!(body.string("model").unwrap().unwrap(), "b");
    assert_eq!(read(r#"{"model":"a","Model":null}"#).string("model").unwrap(), None);
    assert_eq!(read("{}").string("model").unwrap(), None);
}

#[test]
fn broken_text_is_mended() {
    let body = br#"{"a":"x\ud83dy","b":"\ud83d\ude00","\ud83d":1,"c":"X"}"#;
    let body: Vec<u8> = body.iter().map(|&byte| if byte == b'X' { 0xff } else { byte }).collect();
    let body = object("api.EmbedRequest", &body).unwrap();
    assert_eq!(body.string("a").unwrap().unwrap(), "x\u{fffd}y");
    assert_eq!(body.string("b").unwrap().unwrap(), "\u{1f600}");
    assert_eq!(body.string("c").unwrap().unwrap(), "\u{fffd}");
}

#[test]
fn wrong_types_have_gos_words() {
    let body =
        read(r#"{"s":5,"b":"true","i":1.5,"j":"1","k":1e3,"m":5,"l":[1],"n":{"a":[]},"o":"x"}"#);
    let go = |kind: &str, name: &str, go_type: &str| {
        format!(
            "json: cannot unmarshal {kind} into Go struct field EmbedRequest.{name} of type {go_type}"
        )
    };
    assert_eq!(said(body.string("s")), go("number", "s", "string"));
    assert_eq!(said(body.boolean("b")), go("string", "b", "bool"));
    assert_eq!(said(body.integer("i")), go("number 1.5", "i", "int"));
    assert_eq!(said(body.integer("j")), go("string", "j", "int"));
    assert_eq!(said(body.integer("k")), go("number 1e3", "k", "int"));
    assert_eq!(said(body.map("m")), go("number", "m", "map[string]interface {}"));
    assert_eq!(said(body.strings("l")), go("number", "l", "string"));
    assert_eq!(said(body.strings("o")), go("string", "o", "[]string"));
    assert_eq!(said(body.string_map("n")), go("array", "n", "string"));
    assert_eq!(said(body.string_map("l")), go("array", "l", "map[string]string"));
}

#[test]
fn right_types_are_read() {
    let body = read(r#"{"b":true,"i":-7,"m":{"x":[1]},"l":["a",null],"n":{"a":"b"},"v":[1]}"#);
    assert_eq!(body.boolean("b").unwrap(), Some(true));
    assert_eq!(body.integer("i").unwrap(), Some(-7));
    assert_eq!(body.map("m").unwrap().unwrap()["x"], json!([1]));
    assert_eq!(body.strings("l").unwrap().unwrap(), ["a", ""]);
    assert_eq!(body.string_map("n").unwrap().unwrap()["a"], "b");
    assert_eq!(body.value("v").unwrap(), Some(json!([1])));
    assert_eq!(body.value("w").unwrap(), None);
}

#[test]
fn keep_alive_takes_seconds_and_durations() {
    let seconds = |seconds| Some(KeepAlive::For(Duration::from_secs_f64(seconds)));
    let table = [
        ("42", seconds(42.0)),
        ("42.5", seconds(42.5)),
        ("0", seconds(0.0)),
        ("-1", Some(KeepAlive::Forever)),
        ("-3.14", Some(KeepAlive::Forever)),
        ("\"-1m\"", Some(KeepAlive::Forever)),
        ("\"42m\"", seconds(2520.0)),
        ("\"0\"", seconds(0.0)),
        ("null", None),
    ];
    for (text, value) in table {
        let body = format!("{{\"keep_alive\":{text}}}");
        assert_eq!(read(&body).keep_alive("keep_alive").unwrap(), value, "{text}");
    }
}

#[test]
fn keep_alive_that_cannot_be_meant_has_ollamas_words() {
    let table = [
        ("\"60\"", "time: missing unit in duration \"60\""),
        ("\"5 m\"", "time: unknown unit \" m\" in duration \"5 m\""),
        ("\"\"", "time: invalid duration \"\""),
        ("true", "Unsupported type: 'bool'"),
        ("{}", "Unsupported type: 'map[string]interface {}'"),
        ("[]", "Unsupported type: '[]interface {}'"),
    ];
    for (text, error) in table {
        let body = format!("{{\"keep_alive\":{text}}}");
        assert_eq!(said(read(&body).keep_alive("keep_alive")), error, "{text}");
    }
}

#[test]
fn input_has_many_forms() {
    let texts = |texts: &[&str]| Input::Many(texts.iter().map(|&text| text.to_owned()).collect());
    let table = [
        ("null", Input::Absent),
        ("\"a\"", Input::One("a".to_owned())),
        ("[]", texts(&[])),
        ("[ \"a\", \"\" ]", texts(&["a", ""])),
        ("[1,2]", Input::Ids(vec![vec![1, 2]])),
        ("[[1],[2,3]]", Input::Ids(vec![vec![1], vec![2, 3]])),
        ("[\"a\",1]", Input::Other),
        ("[1,\"a\"]", Input::Other),
        ("[-1]", Input::Other),
        ("[null]", Input::Other),
        ("5", Input::Other),
        ("{}", Input::Other),
    ];
    for (text, input) in table {
        assert_eq!(read(&format!("{{\"input\":{text}}}")).input("input").unwrap(), input, "{text}");
    }
}

#[test]
fn hostile_bodies_are_refused_and_cost_little() {
    let deep = |depth: usize| format!("{{\"o\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let body = deep(100_000);
    assert_eq!(said(read(&body).value("o")), "exceeded max depth");
    assert_eq!(read(&body).input("o").unwrap(), Input::Other);
    assert!(refused("[".repeat(100_000).as_bytes()).contains("exceeded max depth"));
    let wide: String = (0..2000).map(|n| format!("\"{n}\":1,")).collect();
    assert!(refused(format!("{{{wide}\"z\":1}}").as_bytes()).contains("more than 1024 fields"));
    assert!(said(read("{\"o\":1e999}").value("o")).contains("of type float64"));
}

/// Every refusal must be worded by the scanner, or `serde_json`'s own words would leak out.
#[test]
fn damaged_bodies_are_refused_in_gos_words() {
    let body =
        br#"{"model":"a\u00e9\n","input":["b",-1.5e+3,true,null,{"x":[]}],"truncate":false}"#;
    let damage = *b"\"\\{}[]:,0-.eEtu \n\x00\x80x";
    for at in 0..body.len() {
        for byte in damage {
            let mut body = body.to_vec();
            body[at] = byte;
            let Err(DecodeError::Invalid(text)) = object("api.EmbedRequest", &body) else {
                continue;
            };
            let go = text.starts_with("invalid character") || text == "unexpected EOF";
            assert!(go || text.starts_with("json: cannot unmarshal"), "{text}: {body:?}");
        }
        assert_eq!(refused(&body[..at.max(1)]), "unexpected EOF");
    }
}
