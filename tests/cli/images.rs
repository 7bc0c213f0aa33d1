//! What becomes of image files?

use std::fs;

use serde_json::Value;

use super::{Alone, complaint, quiet};
use crate::support::checkout;

#[test]
fn every_image_gives_a_line() {
    let alone = Alone::new();
    let model = checkout("tests/goldens/models/clip");
    fs::write(alone.folder.path().join("Modelfile"), format!("FROM {}\n", model.display()))
        .unwrap();
    drop(super::outcome(&mut alone.vecuna("create clip -f Modelfile"), b""));
    for name in ["wide.png", "small.jpg"] {
        fs::copy(checkout("tests/goldens/images").join(name), alone.folder.path().join(name))
            .unwrap();
    }
    let line = "embed clip --dimensions 5 --image wide.png small.jpg";
    let out = quiet(&mut alone.vecuna(line), "");
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[1]["index"], &rows[1]["image"]), (&1.into(), &"small.jpg".into()));
    assert!(rows.iter().all(|row| row["embedding"].as_array().unwrap().len() == 5));
    let missing = complaint(&mut alone.vecuna("embed clip --image nothing.png"));
    assert!(missing.starts_with("Error: cannot read 'nothing.png'"), "{missing}");
    let text = complaint(&mut alone.vecuna("embed clip --image Modelfile"));
    assert!(text.contains("it is no PNG, JPEG, WebP or GIF file"), "{text}");
}
