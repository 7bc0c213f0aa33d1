//! Which files does a model folder have?

use std::{fs, path::Path};

use engine::Files;

/// Returns every file of a golden's folder by its path in there.
pub(crate) fn files(model: &str) -> Files {
    let root = format!("{}/../tests/goldens/models/{model}", env!("CARGO_MANIFEST_DIR"));
    let mut files = Files::new();
    walk(Path::new(&root), "", &mut files);
    files
}

fn walk(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            walk(&path, &format!("{name}/"), files);
        } else {
            drop(files.insert(name, path));
        }
    }
}
