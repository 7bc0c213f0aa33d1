//! Are the pixels those of Pillow, and does no file do harm?

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Picture, Sight, decode::decode, resize};
use crate::{Files, plan::Patches};

/// How far JPEG files may be from libjpeg-turbo: the largest difference of a byte and the mean of all. Measured 3 and
/// 0.19 on these files, and 4 and 0.24 on larger ones; of the usual kind, with colours at half the size, 3 and 0.12.
const JPEG: (u8, f64) = (4, 0.3);

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens")
}

fn golden() -> Value {
    serde_json::from_slice(&fs::read(goldens().join("images.json")).unwrap()).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    fs::read(goldens().join("images").join(name)).unwrap()
}

fn bytes(row: &Value, key: &str) -> Vec<u8> {
    STANDARD.decode(row[key].as_str().unwrap()).unwrap()
}

fn number(row: &Value, key: &str) -> usize {
    row[key].as_u64().unwrap() as usize
}

#[test]
fn files_are_decoded_as_pillow_does() {
    for row in golden()["decoded"].as_array().unwrap() {
        let name = row["file"].as_str().unwrap();
        let picture = decode(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let size = (number(row, "width"), number(row, "height"));
        assert_eq!((picture.width, picture.height), size, "{name}");
        let wanted = bytes(row, "rgb");
        let away = || picture.rgb.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b));
        let mean = away().map(f64::from).sum::<f64>() / wanted.len() as f64;
        let (most, mean_most) = if name.ends_with(".jpg") { JPEG } else { (0, 0.0) };
        let found = (away().max().unwrap(), mean);
        assert!(found.0 <= most && found.1 <= mean_most, "{name}: {found:?}");
    }
}

#[test]
fn sizes_are_changed_as_pillow_does() {
    for row in golden()["resized"].as_array().unwrap() {
        let picture = decode(&file(row["file"].as_str().unwrap())).unwrap();
        let (width, height) = (number(row, "width"), number(row, "height"));
        let filter = match number(row, "resample") {
            2 => resize::Filter::Bilinear,
            _ => resize::Filter::Bicubic,
        };
        let window = resize::Window { left: 0, top: 0, width, height };
        let whole = resize::resize(&picture, (width, height), &window, filter);
        assert!(whole == bytes(row, "rgb"), "{} to {width} x {height}", row["file"]);
        let window = resize::Window { left: 1, top: 2, width: width - 2, height: height - 3 };
        let part = resize::resize(&picture, (width, height), &window, filter);
        let rows = whole.chunks(width * 3).skip(2).take(height - 3);
        assert_eq!(part, rows.flat_map(|row| &row[3..row.len() - 3]).copied().collect::<Vec<_>>());
    }
}

fn sight(settings: &Value) -> Result<Sight, crate::Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("preprocessor_config.json");
    fs::write(&path, settings.to_string()).unwrap();
    let files = Files::from([("preprocessor_config.json".to_owned(), path)]);
    Sight::read(&files, "", &Patches { image: 32, size: 8, class: false, bias: false })
}

#[test]
fn images_are_made_ready_as_transformers_does() {
    for row in golden()["prepared"].as_array().unwrap() {
        let sight = sight(&row["settings"]).unwrap();
        let patches = sight.look(&file(row["file"].as_str().unwrap())).unwrap();
        let found: Vec<f32> = sight.values(&patches).collect();
        let wanted = bytes(row, "pixels");
        let wanted: Vec<f32> =
            wanted.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        for (i, found) in found.iter().enumerate() {
            let (patch, channel, y, x) = (i / 192, i / 64 % 3, i / 8 % 8, i % 8);
            let (y, x) = (patch / 4 * 8 + y, patch % 4 * 8 + x);
            assert_eq!(*found, wanted[(channel * 32 + y) * 32 + x], "{} {i}", row["file"]);
        }
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (key, value, words) in [
        ("image_processor_type", "ViTImageProcessor".into(), "image processor 'ViTImageProcessor'"),
        ("do_pad", true.into(), "'do_pad' of an image processor"),
        ("do_resize", false.into(), "images that are not resized"),
        ("resample", 1.into(), "resampling by filter 1"),
        ("size", serde_json::json!({"longest_edge": 5}), "images with a longest edge"),
        ("size", 0.into(), "0 is no side"),
        ("size", 31.into(), "images are cut to 32 pixels"),
        ("size", serde_json::json!({"height": 5}), "'size' is neither"),
        ("crop_size", 31.into(), "gives no images of 32 x 32"),
        ("image_std", serde_json::json!([1, 0, 1]), "'image_std' divides"),
        ("image_mean", serde_json::json!([1, 1]), "'image_mean' is no list"),
    ] {
        let mut settings = golden()["prepared"][0]["settings"].clone();
        settings[key] = value;
        let error = sight(&settings).unwrap_err().to_string();
        assert!(error.contains(words), "{key}: {error}");
    }
}

/// Cut and damaged files are errors, or images; nothing panics.
#[test]
fn broken_files_do_no_harm() {
    let mut state = 7u64;
    let mut dice = |bound: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for row in golden()["decoded"].as_array().unwrap() {
        let name = row["file"].as_str().unwrap();
        let whole = file(name);
        assert!(decode(&whole[..whole.len() / 2]).is_err(), "half of {name}");
        for length in 0..whole.len() {
            drop(decode(&whole[..length]));
        }
        for _ in 0..200 {
            let mut damaged = whole.clone();
            for _ in 0..=dice(4) {
                let place = dice(damaged.len());
                damaged[place] = dice(256) as u8;
            }
            drop(decode(&damaged));
        }
    }
}

#[test]
fn images_of_impossible_sizes_are_refused() {
    let mut png = file("wide.png");
    for side in [0u32, 40_000, u32::MAX] {
        png[16..20].copy_from_slice(&side.to_be_bytes());
        assert!(decode(&png).is_err(), "{side}");
    }
    let mut gif = file("palette.gif");
    gif[6..10].fill(0xff);
    assert!(decode(&gif).unwrap_err().to_string().contains("65535 x 65535 pixels"));
    assert!(decode(b"").is_err() && decode(b"BM").is_err());
}

/// An image a pixel high costs no more than any other.
#[test]
fn the_longest_image_is_cut_before_it_grows() {
    let settings = golden()["prepared"][0]["settings"].clone();
    let sight = sight(&settings).unwrap();
    for (width, height) in [(1 << 15, 1), (1, 1 << 15)] {
        let picture = Picture { width, height, rgb: vec![9; width * height * 3] };
        assert_eq!(sight.view(&picture), vec![9; 32 * 32 * 3]);
    }
}
