//! Which files are there, and which of their lines are code?

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use crate::support::checkout;

/// The names that the top level may hold; names that begin with a dot are settings of tools.
pub(super) const TOP: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "cli",
    "daemon",
    "docs",
    "engine",
    "install.sh",
    "modelfiles",
    "registry",
    "tests",
];
/// Settings of tools that hold text of ours.
const TOOLS: &[&str] = &[".ci", ".clippy.toml", ".gitignore", ".rustfmt.toml"];
/// Folders that tools make.
const MADE: &[&str] = &["__pycache__", "node_modules", "target"];

/// A text file of the checkout.
pub(super) struct File {
    /// From the top, with `/` between its parts.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// Returns every line with its number, from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Returns the lines that are no comments.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Returns the lines of code before the tests, which come last in a file.
    pub(super) fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().take_while(|(_, line)| *line != "#[cfg(test)]")
    }

    /// Says whether the file is part of a crate and not one of its tests.
    pub(super) fn is_product(&self) -> bool {
        self.path.contains("/src/") && !self.path.ends_with("/tests.rs")
    }

    /// Words a problem with a line.
    pub(super) fn at(&self, line: usize, problem: &str) -> String {
        format!("{}:{line}: {problem}", self.path)
    }
}

/// Returns every text file of the project.
pub(super) fn all() -> &'static [File] {
    static ALL: LazyLock<Vec<File>> = LazyLock::new(|| {
        let mut files = Vec::new();
        for name in TOP.iter().chain(TOOLS) {
            walk(&checkout(name), name, &mut files);
        }
        files.sort_by(|a: &File, b| a.path.cmp(&b.path));
        files
    });
    &ALL
}

/// Returns the files whose names end so.
pub(super) fn ending(suffix: &str) -> impl Iterator<Item = &'static File> {
    all().iter().filter(move |file| file.path.ends_with(suffix))
}

/// Returns the Rust files of the crates themselves.
pub(super) fn product() -> impl Iterator<Item = &'static File> {
    ending(".rs").filter(|file| file.path.contains("/src/"))
}

/// Returns one file.
pub(super) fn file(path: &str) -> &'static File {
    all().iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"))
}

/// Returns whether `word` stands in the line, not as a part of a longer word.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        !(before.ends_with(is_part) || word.ends_with(is_part) && after.starts_with(is_part))
    })
}

/// Collects what is text; a link is not followed, and what tools made is passed over.
fn walk(place: &Path, path: &str, files: &mut Vec<File>) {
    if place.is_symlink() || MADE.contains(&path.rsplit('/').next().unwrap_or_default()) {
        return;
    }
    if let Ok(entries) = fs::read_dir(place) {
        for entry in entries {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            walk(&entry.path(), &format!("{path}/{name}"), files);
        }
    } else if let Ok(text) = fs::read_to_string(place) {
        files.push(File { path: path.to_owned(), text });
    }
}

#[test]
fn words_are_found_whole() {
    for (line, word, found) in [
        ("use sha2::Digest;", "sha2::", true),
        ("my_sha2::x", "sha2::", false),
        ("std::env::vars_os()", "env::var", false),
        ("std::env::var(name)", "env::var", true),
        ("#[expect(unsafe_code)]", "unsafe", false),
        ("let x = unsafe { y };", "unsafe", true),
    ] {
        assert_eq!(has_word(line, word), found, "'{word}' in '{line}'");
    }
}
