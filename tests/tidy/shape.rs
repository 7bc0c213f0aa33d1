//! Are files, functions and lines of a size that a reader can hold?

use super::{
    expect_none,
    sources::{File, ending},
};

/// Lines of a file: beyond this it answers more than one question.
const FILE_LINES: usize = 500;
/// Lines of a file from which it is worth a look.
const LONG_FILE_LINES: usize = 300;
/// Lines of a function: one screen.
const FUNCTION_LINES: usize = 70;
/// Columns of a line, text in quotes not counted.
const COLUMNS: usize = 120;

#[test]
fn files_begin_with_their_question() {
    let silent = ending(".rs").filter(|file| !file.text.starts_with("//! "));
    let advice = "begin with a line `//! ` that says which question the file answers";
    expect_none(silent.map(|file| file.at(1, advice)));
}

#[test]
fn files_are_short() {
    let lines = |file: &File| file.text.lines().count();
    let long = ending(".rs").filter(|file| lines(file) > LONG_FILE_LINES).count();
    let too_long = ending(".rs").filter(|file| lines(file) > FILE_LINES);
    let advice = |file: &File| {
        format!(
            "{} lines, at most {FILE_LINES}: find the part with a thin interface \
             ({long} files have more than {LONG_FILE_LINES})",
            lines(file)
        )
    };
    expect_none(too_long.map(|file| file.at(lines(file), &advice(file))));
}

#[test]
fn lines_are_short() {
    let mut problems = Vec::new();
    for file in ending(".rs") {
        let long = file.lines().filter(|(_, line)| columns(line) > COLUMNS);
        problems.extend(long.map(|(line, _)| file.at(line, "break the line at 120 columns")));
    }
    expect_none(problems);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut problems = Vec::new();
    for file in ending(".rs") {
        let long = functions(&file.text).filter(|(_, length)| *length > FUNCTION_LINES);
        let advice = |length| format!("{length} lines, at most {FUNCTION_LINES}: name its parts");
        problems.extend(long.map(|(line, length)| file.at(line, &advice(length))));
    }
    expect_none(problems);
}

/// Counts the characters outside of quotes; a line of a text that goes on (`\`) counts for nothing.
fn columns(line: &str) -> usize {
    if line.ends_with('\\') {
        return 0;
    }
    line.replace("\\\"", "").split('"').step_by(2).map(|part| part.chars().count()).sum()
}

/// Finds functions, formatted by rustfmt; returns the line and the number of lines of each.
fn functions(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).filter_map(move |start| {
        let body = lines[start].trim_start();
        let indent = &lines[start][..lines[start].len() - body.len()];
        let words = body.split(' ').take_while(|word| *word != "fn");
        let opens =
            |word: &str| matches!(word, "const" | "async" | "unsafe") || word.starts_with("pub");
        let is_function = body.contains("fn ") && words.into_iter().all(opens);
        if !is_function || body.ends_with(['}', ';']) {
            return None;
        }
        let closing = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| *line == closing)? + 1;
        Some((start + 1, length))
    })
}

#[test]
fn sizes_are_measured_right() {
    assert_eq!(columns("abc(\"a long \\\"text\\\"\", 1)"), "abc(, 1)".len());
    let text = "fn a() {\n}\nimpl B {\n    pub(crate) async fn c(\n    ) {\n        x\n    }\n\n    fn d() {}\n}\n";
    assert_eq!(functions(text).collect::<Vec<_>>(), [(1, 2), (4, 4)]);
}
