//! Which files of this machine make up a model that a Modelfile names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::failure::Failure;

/// Names inside the model, with `/` between their parts, and where the files are.
pub(crate) type ModelFiles = BTreeMap<String, PathBuf>;

const HINT: &str =
    "the folder has to hold a model as files, not as links: download it with --local-dir";

/// Finds the path that a `FROM` means; `None` when it is a model's name.
pub(crate) fn resolve(from: &str, modelfile: &Path) -> Result<Option<PathBuf>> {
    match existing(from, modelfile) {
        Ok(path) => Ok(Some(path)),
        Err(error) if is_path(from) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Finds the path that an instruction means, which must be there.
pub(crate) fn existing(text: &str, modelfile: &Path) -> Result<PathBuf> {
    let path = match (text.strip_prefix('~'), std::env::home_dir()) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => modelfile.parent().unwrap_or(Path::new("")).join(text),
    };
    if path.exists() {
        return Ok(path);
    }
    let looked = std::path::absolute(&path).unwrap_or(path);
    let failure = Failure::new(format!("'{text}' does not exist"));
    Err(failure.hint(format!("looked for '{}'", looked.display())).into())
}

/// Says whether the text cannot be a model's name.
fn is_path(text: &str) -> bool {
    ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start))
        || [".", "..", "~"].contains(&text)
}

/// Lists the files of a model that is a folder, or the one file that it is.
pub(crate) async fn files(path: &Path) -> Result<ModelFiles> {
    if !path.is_dir() {
        let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
        return Ok(ModelFiles::from([(name, path.to_owned())]));
    }
    if let Some((name, file)) = only_gguf(path) {
        return Ok(ModelFiles::from([(name, file)]));
    }
    let files = daemon::folder_files(path).await;
    files.map_err(|error| {
        let text = format!("folder '{}' cannot be imported: {error}", path.display());
        Failure::new(text).hint(HINT).into()
    })
}

/// Returns the GGUF file of a folder that holds one and no model of another form.
fn only_gguf(folder: &Path) -> Option<(String, PathBuf)> {
    let names = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    let is_gguf = |name: &&String| name.to_ascii_lowercase().ends_with(".gguf");
    let mut found = names.iter().filter(is_gguf);
    let other = ["config.json", "modules.json"].iter().any(|name| names.iter().any(|n| n == name));
    match (found.next(), found.next()) {
        (Some(name), None) if !other => Some((name.clone(), folder.join(name))),
        _ => None,
    }
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

    async fn names(folder: &Path) -> Vec<String> {
        files(folder).await.expect("files").into_keys().collect()
    }

    #[tokio::test]
    async fn a_folder_gives_what_a_pull_would() {
        let folder = folder(&[
            "model.safetensors",
            "model.fp16.safetensors",
            "pytorch_model.bin",
            "config.json",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/pytorch_model.bin",
            "vocab.txt",
            "training_args.bin",
            "onnx/model.onnx",
            "a/b/c.json",
        ]);
        let modules = r#"[{"path":""},{"path":"1_Pooling"},{"path":"2_Dense"}]"#;
        std::fs::write(folder.path().join("modules.json"), modules).expect("file");
        let want = [
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/pytorch_model.bin",
            "config.json",
            "model.safetensors",
            "modules.json",
            "vocab.txt",
        ];
        assert_eq!(names(folder.path()).await, want);
    }

    #[tokio::test]
    async fn older_weights_are_taken_when_there_are_no_others() {
        let folder = folder(&["pytorch_model.bin", "config.json", "training_args.bin"]);
        assert_eq!(names(folder.path()).await, ["config.json", "pytorch_model.bin"]);
        let single = names(&folder.path().join("config.json")).await;
        assert_eq!(single, ["config.json"]);
    }

    #[tokio::test]
    async fn a_gguf_file_is_a_model() {
        assert_eq!(names(folder(&["x.GGUF", "README.md"]).path()).await, ["x.GGUF"]);
        let both = folder(&["x.gguf", "config.json", "model.safetensors"]);
        assert_eq!(names(both.path()).await, ["config.json", "model.safetensors"]);
        files(folder(&["x.gguf", "y.gguf"]).path()).await.expect_err("which one?");
    }

    #[tokio::test]
    async fn a_folder_without_weights_is_refused() {
        let error = files(folder(&["config.json"]).path()).await.expect_err("no weights");
        let text = error.to_string();
        assert!(
            text.contains("cannot be imported: ") && text.contains("no config.json with weights")
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_must_not_lead_out() {
        let outside = folder(&["secret.json"]);
        let folder = folder(&["model.safetensors"]);
        let link = folder.path().join("config.json");
        std::os::unix::fs::symlink(outside.path().join("secret.json"), link).expect("link");
        let text = files(folder.path()).await.expect_err("link").to_string();
        assert!(text.ends_with("'config.json' is a link that leaves the folder"), "{text}");
    }

    #[test]
    fn from_is_a_path_if_it_exists() {
        let folder = folder(&["model.gguf"]);
        let modelfile = folder.path().join("Modelfile");
        let found = |from, modelfile| resolve(from, modelfile).expect("no error").is_some();
        assert!(found("./model.gguf", &modelfile));
        assert!(!found("all-minilm", &modelfile) && !found("a/b", &modelfile));
        assert!(found("Cargo.toml", Path::new("Modelfile")) && found("Cargo.toml", Path::new("-")));
    }

    #[test]
    fn what_can_only_be_a_path_must_exist() {
        let folder = folder(&["model.gguf"]);
        let modelfile = folder.path().join("Modelfile");
        for from in ["./nofolder", "../no/folder", "/no/folder", "~/no/such/folder"] {
            let error = resolve(from, &modelfile).expect_err(from);
            assert_eq!(error.to_string(), format!("'{from}' does not exist"));
        }
        assert!(resolve(".", &modelfile).expect("a folder").is_some());
    }
}
