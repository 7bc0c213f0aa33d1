//! What does `embed` make of files, and what is left when it fails half way?

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::{Alone, client, complaint, outcome, quiet};
use crate::support::{self, Daemon};

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_may_be_replaced_by_its_own_vectors() {
    let daemon = Daemon::with_all_minilm(&[]);
    let folder = support::folder();
    let notes = folder.path().join("notes.txt");
    fs::write(&notes, "one\ntwo\n").unwrap();
    let line = "embed all-minilm --with-text --dimensions 4";
    quiet(client(&daemon, line).arg(&notes).arg("-o").arg(&notes), "");
    let rows = rows(&fs::read_to_string(&notes).unwrap());
    assert_eq!((rows.len(), rows[1]["text"].as_str()), (2, Some("two")));
}

#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let daemon = Daemon::with_all_minilm(&[]);
    let folder = support::folder();
    let (texts, out) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    fs::write(&texts, format!("{}nope\n", "{\"text\":\"a\"}\n".repeat(64))).unwrap();
    fs::write(&out, "old").unwrap();
    let failed = complaint(client(&daemon, "embed all-minilm").arg(&texts).arg("-o").arg(&out));
    assert!(failed.contains("in.jsonl line 65: not a JSON object"), "{failed}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn records_keep_their_fields_and_line_numbers() {
    let daemon = Daemon::with_all_minilm(&[]);
    let texts = "{\"id\":\"x\",\"text\":\"a\"}\n\n{\"text\":\"b\",\"tags\":[1.50]}\n";
    let line = "embed all-minilm --jsonl --dimensions 4";
    let out = quiet(&mut client(&daemon, line), texts);
    let rows = rows(&out);
    assert_eq!((rows[0]["index"].as_u64(), rows[0]["id"].as_str()), (Some(0), Some("x")));
    assert_eq!((rows[1]["index"].as_u64(), rows[1].get("text")), (Some(2), None));
    assert!(out.contains("\"tags\":[1.50]"), "{out}");
}

#[test]
fn the_text_that_is_too_long_is_named() {
    let daemon = Daemon::with_all_minilm(&[]);
    let texts = format!("short\n{}\nshort\n", "word ".repeat(600));
    let command = &mut client(&daemon, "embed all-minilm --no-truncate");
    let refused = outcome(command, texts.as_bytes());
    let want = "Error: standard input line 2: the input length exceeds the context length\n";
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(1), want));
}

#[test]
fn a_service_that_goes_is_told_with_what_was_done() {
    let daemon = Daemon::with_all_minilm(&[]);
    let mut command = client(&daemon, "embed all-minilm --dimensions 4");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut texts = child.stdin.take().unwrap();
    texts.write_all("a\n".repeat(64).as_bytes()).unwrap();
    let mut first = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    let url = daemon.url.clone();
    drop(daemon);
    texts.write_all(b"b\n").unwrap();
    drop(texts);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let want = format!("Error: after 64 texts: could not connect to the vecuna server at {url}");
    assert!(text.starts_with(&want), "{text}");
    assert!(text.ends_with("\nhint: run 'vecuna serve' to start it\n"), "{text}");
}

#[test]
fn a_modelfile_may_be_piped_and_a_wrong_path_is_told() {
    let alone = Alone::new();
    let golden = support::checkout("tests/goldens/models/bert-mean");
    let text = format!("FROM {}\nPARAMETER query_prompt \"find  this: \"\n", golden.display());
    let made = outcome(&mut alone.vecuna("create tiny -f -"), text.as_bytes());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let shown = quiet(&mut alone.vecuna("show tiny"), "");
    assert!(shown.contains("find  this: "), "{shown}");
    for path in ["./nofolder", "../no/folder", "/no/folder", "~/no/folder"] {
        let from = format!("FROM {path}\n");
        let refused = outcome(&mut alone.vecuna("create tiny -f -"), from.as_bytes());
        assert_eq!(refused.code, Some(1));
        let want = format!("Error: '{path}' does not exist\nhint: looked for '/");
        assert!(refused.stderr.contains(&want), "{}", refused.stderr);
    }
}

#[test]
fn wishes_reach_the_service() {
    let daemon = Daemon::with_all_minilm(&[]);
    let text = "The sky is blue. Grass is green.\n";
    let ask = |line: &str| rows(&quiet(&mut client(&daemon, line), text));
    let chunks = ask(
        "embed all-minilm --chunk=each --chunk-tokens 8 --dimensions 8 --encoding-format ubinary",
    );
    let places: Vec<_> =
        chunks.iter().map(|row| (row["start"].as_u64(), row["end"].as_u64())).collect();
    assert_eq!(places, [(Some(0), Some(16)), (Some(17), Some(32))]);
    assert!(
        chunks
            .iter()
            .all(|row| row["index"] == 0 && row["embedding"].as_array().unwrap().len() == 1)
    );
    let [pooled] = &ask("embed all-minilm --chunk --chunk-tokens 8 --dimensions 4")[..] else {
        panic!("one text, one row")
    };
    assert!(pooled.get("start").is_none() && pooled["embedding"].as_array().unwrap().len() == 4);
    let [both] =
        &ask("embed all-minilm --outputs dense,multivector --no-normalize --task query")[..]
    else {
        panic!("one text, one row")
    };
    assert_eq!(both["multivector"].as_array().unwrap().len(), 11);
    let nope = &mut client(&daemon, "embed all-minilm --prompt-name nope");
    let refused = outcome(nope, text.as_bytes());
    let wanted = "Error: prompt 'nope' not found: the model has none";
    assert!(refused.code == Some(1) && refused.stderr.starts_with(wanted), "{}", refused.stderr);
}

#[test]
fn a_gguf_file_makes_a_model() {
    let alone = Alone::new();
    let golden = support::checkout("tests/goldens/tokenizers/xlm-roberta.gguf");
    let text = format!("FROM {}\nPARAMETER num_ctx 40\n", golden.display());
    let made = outcome(&mut alone.vecuna("create tiny -f -"), text.as_bytes());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stderr.contains("parsing GGUF"), "{}", made.stderr);
    let shown = quiet(&mut alone.vecuna("show tiny"), "");
    assert!(shown.contains("Q8_0") && shown.contains("bert"), "{shown}");
    quiet(&mut alone.vecuna("run tiny hello"), "");
}
