//! What does a person at a terminal see, and what does a script get?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod files;
mod images;
mod torch;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{self, Daemon};

const QUESTION: &str = "why is the sky blue?";

/// How a command ended, and what it wrote.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the command on the piped text.
fn outcome(command: &mut Command, piped: &[u8]) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that fails early does not read what it is given.
    child.stdin.take().unwrap().write_all(piped).ok();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the command, which must succeed and say nothing on stderr, and returns its output.
fn quiet(command: &mut Command, piped: &str) -> String {
    let outcome = outcome(command, piped.as_bytes());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{command:?}");
    outcome.stdout
}

/// Runs the command, which must fail without output, and returns what it complains of.
fn complaint(command: &mut Command) -> String {
    let outcome = outcome(command, b"");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{command:?}");
    outcome.stderr
}

/// A user's own settings, on a machine where no daemon runs.
struct Alone {
    folder: TempDir,
}

impl Alone {
    fn new() -> Self {
        let folder = support::folder();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // A host in the file is where a daemon would be, not one that must be there.
        fs::write(folder.path().join("config.toml"), format!("host = \"{closed}\"\n")).unwrap();
        Self { folder }
    }

    /// Returns a command that works in process on this user's store.
    fn vecuna(&self, line: &str) -> Command {
        self.vecuna_on(&self.folder.path().join("models"), line)
    }

    /// Returns a command that works in process on another store.
    fn vecuna_on(&self, store: &Path, line: &str) -> Command {
        let mut command = support::vecuna();
        command.args(line.split_whitespace()).current_dir(self.folder.path());
        command.env("VECUNA_CONFIG", self.folder.path().join("config.toml"));
        command.env("VECUNA_MODELS", store);
        command
    }
}

/// Returns a command that talks to the daemon.
fn client(daemon: &Daemon, line: &str) -> Command {
    let mut command = support::vecuna();
    command.args(line.split_whitespace()).env("VECUNA_HOST", &daemon.url);
    command
}

fn numbers(line: &str) -> Vec<f64> {
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_fresh_store_is_empty() {
    let alone = Alone::new();
    assert_eq!(quiet(&mut alone.vecuna("list"), ""), "NAME    ID    SIZE    MODIFIED \n");
    let header = "NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL \n";
    assert_eq!(quiet(&mut alone.vecuna("ps"), ""), header);
}

#[test]
fn what_is_not_there_is_named() {
    let alone = Alone::new();
    for (line, want) in [
        (
            "show nope",
            "Error: model 'nope:latest' not found\nhint: a model is a known short name \
            (docs/models.md) or <owner>/<repository> of the Hugging Face hub\n",
        ),
        (
            "show all-minlm",
            "Error: model 'all-minlm:latest' not found\nhint: did you mean 'all-minilm'?\n",
        ),
        ("rm nope", "Error: model 'nope' not found\n"),
        ("stop nope", "Error: couldn't find model \"nope\" to stop\n"),
        ("cp nope other", "Error: model \"nope\" not found\n"),
        ("show a//b", "Error: invalid model name\n"),
        (
            "run nope",
            "Error: embedding models require input text. \
            Usage: vecuna run nope \"your text here\"\n",
        ),
    ] {
        assert_eq!(complaint(&mut alone.vecuna(line)), want, "{line}");
    }
    let missing = complaint(&mut alone.vecuna("create mine"));
    assert!(missing.starts_with("Error: specified Modelfile wasn't found\n"), "{missing}");
}

#[test]
fn a_wrong_command_line_is_an_error_like_any_other() {
    let alone = Alone::new();
    for line in ["nope", "rm", "run", "run m --truncate=maybe", "run m --keepalive=5 hello"] {
        let text = complaint(&mut alone.vecuna(line));
        assert!(text.starts_with("Error: "), "{line}: {text}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let alone = Alone::new();
    for line in ["", "help", "--help", "help serve", "run --help"] {
        assert!(quiet(&mut alone.vecuna(line), "").contains("Usage: vecuna"), "{line}");
    }
    assert!(quiet(&mut alone.vecuna("--help"), "").contains("VECUNA_HOST"));
    let version = concat!("vecuna version is ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(quiet(&mut alone.vecuna("-v"), ""), version);
    assert_eq!(quiet(&mut alone.vecuna("--version"), ""), version);
}

#[test]
fn shells_get_completions() {
    let alone = Alone::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = quiet(&mut alone.vecuna(&format!("completions {shell}")), "");
        assert!(script.contains("vecuna") && script.contains("completions"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_enough_ends_a_command_quietly() {
    let alone = Alone::new();
    let mut command = alone.vecuna("completions bash");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_host_that_was_named_must_answer() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = support::vecuna();
    let text = complaint(command.arg("list").env("VECUNA_HOST", closed.to_string()));
    let want = format!(
        "Error: could not connect to the vecuna server at http://{closed}\n\
        hint: run 'vecuna serve' to start it\n"
    );
    assert_eq!(text, want);
}

#[test]
fn a_model_that_cannot_run_yet_is_refused_before_it_is_fetched() {
    let alone = Alone::new();
    for line in ["run jina-reranker-v1-tiny-en hello", "embed jina-reranker-v1-tiny-en"] {
        let text = complaint(&mut alone.vecuna(line));
        assert!(text.starts_with("Error: ") && text.contains("jina"), "{text}");
        assert!(text.contains("\nhint: 'vecuna pull jina-reranker-v1-tiny-en'"), "{text}");
        assert!(!text.contains("pulling"), "{text}");
    }
}

#[test]
fn a_pull_of_what_cannot_run_warns_and_one_that_fails_advises() {
    let alone = Alone::new();
    let pull = |model: &str| {
        // A port that nobody listens on is a hub that cannot be reached.
        let mut command = alone.vecuna(&format!("pull {model}"));
        complaint(command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("VECUNA_PIP", "false"))
    };
    let warned = pull("jina-reranker-v2-base-multilingual");
    let words = "warning: model 'jina-reranker-v2-base-multilingual' needs ";
    assert!(warned.starts_with(words), "{warned}");
    assert!(warned.contains("\npulling manifest\n"), "{warned}");
    assert!(warned.contains("\nhint: HF_ENDPOINT names a mirror, HTTPS_PROXY"), "{warned}");
    let missing = pull("all-minlm");
    let want = "Error: pull model manifest: file does not exist\n\
        hint: there is no 'all-minlm'; did you mean 'all-minilm'?\n";
    assert!(missing.ends_with(want), "{missing}");
}

#[test]
fn one_text_gives_the_same_vector_with_and_without_a_daemon() {
    let daemon = Daemon::with_all_minilm(&[]);
    let alone = Alone::new();
    let ask = || {
        let mut command = alone.vecuna_on(&daemon.store, "run all-minilm");
        command.arg(QUESTION);
        command
    };
    let local = quiet(&mut ask(), "");
    let vector = numbers(&local);
    assert_eq!((vector.len(), local.lines().count()), (384, 1));
    assert!((vector[0] - 0.010_071_031).abs() < 1e-3, "{}", vector[0]);
    assert!(local.starts_with('[') && local.ends_with("]\n") && !local.contains(' '));
    assert_eq!(quiet(client(&daemon, "run all-minilm").arg(QUESTION), ""), local);
    assert_eq!(quiet(&mut client(&daemon, "run all-minilm"), QUESTION), local);
    let halves = quiet(client(&daemon, "run all-minilm").arg("sky blue?"), "why is the");
    assert_eq!(halves, local);
}

#[test]
fn flags_of_run_reach_the_service() {
    let daemon = Daemon::with_all_minilm(&[]);
    let cut = quiet(&mut client(&daemon, "run all-minilm --dimensions 8 hello"), "");
    assert_eq!(numbers(&cut).len(), 8);
    let long = "word ".repeat(600);
    let refused = outcome(&mut client(&daemon, "run all-minilm --truncate=false"), long.as_bytes());
    let want = "Error: the input length exceeds the context length\n";
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(1), want));
    let told = outcome(&mut client(&daemon, "run all-minilm --verbose hello"), b"");
    assert_eq!(told.code, Some(0));
    assert!(told.stderr.contains("prompt eval count:    3 token(s)"), "{}", told.stderr);
    quiet(&mut client(&daemon, "run all-minilm --keepalive 0s hello"), "");
    assert_eq!(quiet(&mut client(&daemon, "ps"), "").lines().count(), 1);
}

#[test]
fn a_model_is_listed_shown_copied_stopped_and_removed() {
    let daemon = Daemon::with_all_minilm(&[]);
    let run = |line: &str| quiet(&mut client(&daemon, line), "");
    assert_eq!(run("cp all-minilm mine"), "copied 'all-minilm' to 'mine'\n");
    let list = run("list");
    let ids: Vec<&str> =
        list.lines().skip(1).map(|l| l.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!((ids.len(), ids[0]), (2, ids[1]), "{list}");
    assert!(run("ls ALL").lines().nth(1).unwrap().starts_with("all-minilm:latest    "));
    let shown = run("show mine");
    for row in ["architecture        bert", "embedding length    384", "Capabilities", "License"] {
        assert!(shown.contains(row), "{shown}");
    }
    assert!(run("show mine --modelfile").starts_with("# Modelfile"));
    run("run mine hello");
    let row = run("ps").lines().nth(1).unwrap().to_owned();
    assert!(row.starts_with("mine:latest    ") && row.contains("100% CPU"), "{row}");
    assert_eq!(run("stop mine"), "");
    assert_eq!(run("ps").lines().count(), 1);
    let removed = outcome(&mut client(&daemon, "rm mine nope all-minilm none"), b"");
    assert_eq!(removed.code, Some(1));
    assert_eq!(removed.stdout, "deleted 'mine'\ndeleted 'all-minilm'\n");
    let failed = "Error: model 'nope' not found\nError: model 'none' not found\n";
    assert_eq!(removed.stderr, failed);
    assert_eq!(run("list").lines().count(), 1);
}

#[test]
fn lines_become_json_lines_in_their_order() {
    let daemon = Daemon::with_all_minilm(&[]);
    let texts: String = (0..70).map(|n| format!("text {n}\n")).collect();
    let out = quiet(&mut client(&daemon, "embed all-minilm --with-text"), &texts);
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 70);
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(
            (row["index"].as_u64(), &row["text"]),
            (Some(n as u64), &format!("text {n}").into())
        );
        assert_eq!(row["embedding"].as_array().unwrap().len(), 384);
    }
    let single = quiet(client(&daemon, "run all-minilm").arg("text 69"), "");
    assert_eq!(rows[69]["embedding"], serde_json::from_str::<Value>(&single).unwrap());
}

#[test]
fn a_text_that_was_cut_is_told_on_stderr() {
    let daemon = Daemon::with_all_minilm(&[]);
    let long = "word ".repeat(600);
    let one = outcome(&mut client(&daemon, "run all-minilm"), long.as_bytes());
    assert_eq!(one.stderr, "note: the text was cut to 256 tokens\n");
    assert_eq!(numbers(&one.stdout).len(), 384);
    // The texts of two batches, one cut in each.
    let texts = format!("{long}\n{}{long}\n", "short\n".repeat(68));
    let many = outcome(&mut client(&daemon, "embed all-minilm"), texts.as_bytes());
    assert_eq!(many.stderr, "note: 2 of 70 texts were cut to 256 tokens\n");
    assert_eq!((many.code, many.stdout.lines().count()), (Some(0), 70));
}

#[test]
fn json_lines_are_read_from_files_and_bad_ones_are_named() {
    let daemon = Daemon::with_all_minilm(&[]);
    let folder = support::folder();
    let (good, bad) = (folder.path().join("good.jsonl"), folder.path().join("bad.jsonl"));
    fs::write(&good, "{\"body\":\"a\"}\n\n{\"body\":\"b\"}\n").unwrap();
    fs::write(&bad, "{\"body\":\"a\"}\n{\"text\":\"b\"}\n").unwrap();
    let out = folder.path().join("out.jsonl");
    let line = "embed all-minilm --dimensions 4 --field body -o";
    assert_eq!(quiet(client(&daemon, line).arg(&out).arg(&good), ""), "");
    assert_eq!(fs::read_to_string(&out).unwrap().lines().count(), 2);
    let refused = outcome(client(&daemon, line).arg(&out).arg(&bad), b"");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("bad.jsonl line 2: no field 'body'"), "{}", refused.stderr);
}

#[test]
fn a_modelfile_makes_a_model_from_a_folder() {
    let alone = Alone::new();
    let folder = support::checkout("tests/goldens/models/bert-mean");
    let modelfile = alone.folder.path().join("Modelfile");
    fs::write(modelfile, format!("FROM {}\n", folder.display())).unwrap();
    let made = outcome(&mut alone.vecuna("create tiny"), b"");
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stderr.contains("copying file sha256:"), "{}", made.stderr);
    let vector = quiet(alone.vecuna("run tiny").arg(QUESTION), "");
    assert!(!numbers(&vector).is_empty());
}

#[test]
fn a_folder_may_hold_its_weights_in_several_forms() {
    let alone = Alone::new();
    let golden = support::checkout("tests/goldens/models/bert-dense");
    let mixed = alone.folder.path().join("mixed");
    for name in walk(&golden) {
        let (from, to) = (golden.join(&name), mixed.join(&name));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    for dense in ["2_Dense", "3_Dense"] {
        let weights = mixed.join(dense).join("model.safetensors");
        let bytes = torch::checkpoint(&fs::read(&weights).unwrap());
        fs::write(weights.with_file_name("pytorch_model.bin"), bytes).unwrap();
        fs::remove_file(weights).unwrap();
    }
    fs::write(mixed.join("model.fp16.safetensors"), "not the model's").unwrap();
    let create = |name: &str, folder: &Path| {
        let modelfile = alone.folder.path().join(format!("{name}.modelfile"));
        fs::write(&modelfile, format!("FROM {}\n", folder.display())).unwrap();
        let made = outcome(alone.vecuna("create -f").arg(&modelfile).arg(name), b"");
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        made.stderr.matches("copying file ").count()
    };
    assert_eq!(create("golden", &golden), create("mixed", &mixed));
    let golden = quiet(alone.vecuna("run golden").arg(QUESTION), "");
    assert_eq!(quiet(alone.vecuna("run mixed").arg(QUESTION), ""), golden);
}

/// Lists the files of a folder and of the folders in it.
fn walk(root: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let nested = entries(root).into_iter().flat_map(|path| match path.is_dir() {
        true => entries(&path),
        false => vec![path],
    });
    nested.map(|path| path.strip_prefix(root).unwrap().to_owned()).collect()
}

#[test]
fn a_modelfile_makes_a_model_from_another() {
    let daemon = Daemon::with_all_minilm(&[]);
    let folder = support::folder();
    let modelfile = folder.path().join("Modelfile");
    fs::write(&modelfile, "FROM all-minilm\nPARAMETER num_ctx 16\n").unwrap();
    let made = outcome(client(&daemon, "create small -f").arg(&modelfile), b"");
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stderr.ends_with("writing manifest\nsuccess\n"), "{}", made.stderr);
    let parameters = quiet(&mut client(&daemon, "show small --parameters"), "");
    assert!(parameters.contains("num_ctx") && parameters.contains("16"), "{parameters}");
    let same = |model: &str| quiet(client(&daemon, &format!("run {model}")).arg(QUESTION), "");
    assert_eq!(same("small"), same("all-minilm"));
}
