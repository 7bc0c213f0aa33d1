//! Which files of this machine make up a model that a Modelfile names.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::failure::Failure;

/// A file and the name it has inside the model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ModelFile {
    /// The path relative to the model's folder, with `/` between its parts.
    pub(crate) name: String,
    /// Where the file is.
    pub(crate) path: PathBuf,
}

/// Weights in order of preference: the first form that is there is taken.
const WEIGHTS: &[&[&str]] = &[
    &["model*.safetensors", "*/model*.safetensors"],
    &["consolidated*.safetensors"],
    &["pytorch_model*.bin", "*/pytorch_model*.bin"],
    &["consolidated*.pth"],
    &["*.gguf"],
    &["*.bin"],
];

/// Everything else that says what the weights mean.
const DESCRIPTIONS: &[&str] = &[
    "*.json",
    "*/*.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.txt",
    "merges.txt",
    "*.bpe.model",
    "spiece.model",
];

/// Finds the path that a `FROM` means; `None` when there is no such file, so it is a model's name.
pub(crate) fn resolve(from: &str, modelfile: &Path) -> Option<PathBuf> {
    let path = match (from.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ if from == "~" => std::env::home_dir()?,
        _ => modelfile.parent()?.join(from),
    };
    path.exists().then_some(path)
}

/// Lists the files of a model that is a folder, or the one file that it is.
pub(crate) fn files(path: &Path) -> Result<Vec<ModelFile>> {
    if !path.is_dir() {
        let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
        return Ok(vec![ModelFile { name, path: path.to_owned() }]);
    }
    let root = path.canonicalize()?;
    let there = inside(&root)?;
    let of = |pattern: &&str| -> Vec<ModelFile> {
        there.iter().filter(|file| matches(pattern, &file.name)).cloned().collect()
    };
    let weights = WEIGHTS.iter().map(|forms| forms.iter().flat_map(of).collect::<Vec<_>>());
    let Some(weights) = weights.into_iter().find(|files| !files.is_empty()) else {
        bail!("no Modelfile or safetensors files found");
    };
    let chosen: BTreeSet<ModelFile> =
        weights.into_iter().chain(DESCRIPTIONS.iter().flat_map(of)).collect();
    chosen.iter().try_for_each(|file| stays_inside(&root, file))?;
    Ok(chosen.into_iter().collect())
}

/// Lists the folder and the folders in it.
fn inside(root: &Path) -> Result<Vec<ModelFile>> {
    let mut files = Vec::new();
    for path in entries(root)? {
        let nested = if path.is_dir() { entries(&path)? } else { vec![path] };
        files.extend(nested.into_iter().filter(|path| path.is_file()).map(|path| {
            let name = name_of(path.strip_prefix(root).unwrap_or(&path));
            ModelFile { name, path }
        }));
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = folder.read_dir().with_context(|| format!("cannot read '{}'", folder.display()));
    entries?.map(|entry| Ok(entry?.path())).collect()
}

fn name_of(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Compares with a pattern in which a `*` stands for anything but a `/`.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('/'), name.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if part_matches(pattern, name) => {}
            _ => return false,
        }
    }
}

fn part_matches(pattern: &str, name: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else { return pattern == name };
    let rest = name.strip_prefix(start);
    !name.starts_with('.') && rest.is_some_and(|rest| rest.ends_with(end))
}

/// A link that leads out of the folder could send any file of this machine to a server.
fn stays_inside(root: &Path, file: &ModelFile) -> Result<()> {
    if file.path.canonicalize()?.starts_with(root) {
        return Ok(());
    }
    let failure = Failure::new(format!("insecure path: {}", file.name));
    Err(failure.hint("download with --local-dir so that the folder holds files, not links").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, name).expect("file");
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        files(folder).expect("files").into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn a_repository_gives_what_a_model_needs() {
        let folder = folder(&[
            "model.safetensors",
            "pytorch_model.bin",
            "config.json",
            "modules.json",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "vocab.txt",
            "README.md",
            "onnx/model.onnx",
            "a/b/c.json",
        ]);
        let want = [
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "config.json",
            "model.safetensors",
            "modules.json",
            "vocab.txt",
        ];
        assert_eq!(names(folder.path()), want);
    }

    #[test]
    fn older_weights_are_taken_when_there_are_no_others() {
        let folder = folder(&["pytorch_model.bin", "config.json", "training_args.bin"]);
        assert_eq!(names(folder.path()), ["config.json", "pytorch_model.bin"]);
        let single = files(&folder.path().join("config.json")).expect("file");
        assert_eq!(single[0].name, "config.json");
    }

    #[test]
    fn a_folder_without_weights_is_refused() {
        let error = files(folder(&["config.json"]).path()).expect_err("no weights");
        assert_eq!(error.to_string(), "no Modelfile or safetensors files found");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_must_not_lead_out() {
        let outside = folder(&["secret.json"]);
        let folder = folder(&["model.safetensors"]);
        let link = folder.path().join("config.json");
        std::os::unix::fs::symlink(outside.path().join("secret.json"), link).expect("link");
        let error = files(folder.path()).expect_err("link");
        assert_eq!(error.to_string(), "insecure path: config.json");
    }

    #[test]
    fn from_is_a_path_only_if_it_exists() {
        let folder = folder(&["model.gguf"]);
        let modelfile = folder.path().join("Modelfile");
        assert!(resolve("./model.gguf", &modelfile).is_some());
        assert!(resolve("all-minilm", &modelfile).is_none());
        let relative = Path::new("Modelfile");
        assert!(resolve("Cargo.toml", relative).is_some());
    }
}
