//! Do images get the vectors that sentence-transformers gives them?

use std::{fs, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::{
    Arithmetic, Embedder, Error, Files, Isa, Output, Overflow, Processor, Prompt, Threads, Tokens,
};
use modelfiles::recipe::{Precision, Recipe};
use serde::Deserialize;
use tempfile::TempDir;

use super::{at, check_model, compare, describe, files, load};

/// Models of texts and images.
pub(super) const MODELS: [&str; 3] = ["clip", "clip-plain", "siglip"];

/// Largest difference of a value of the vector of a JPEG file, relative to its length: our decoder and libjpeg-turbo
/// round differently, and these models, whose weights are random, forgive nothing. Measured 2e-3 at most.
const JPEG_TOLERANCE: f32 = 5e-3;

#[derive(Deserialize)]
struct Golden {
    images: Images,
}

#[derive(Deserialize)]
struct Images {
    all: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    embedding: String,
}

fn golden(model: &str) -> Vec<(String, Vec<f32>)> {
    let path = format!("{}/../tests/goldens/models/{model}.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Golden = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let vector = |case: Case| {
        let bytes = STANDARD.decode(case.embedding).unwrap();
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        (case.file, values.collect())
    };
    golden.images.all.into_iter().map(vector).collect()
}

fn image(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/goldens/images/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(path).unwrap()
}

/// Returns what is embedded of a file that is there, or of a text.
fn input(embedder: &Embedder, name: &str) -> Tokens {
    match name.split_once('.') {
        Some(_) => embedder.image(&image(name)).unwrap(),
        None => embedder.tokenize(name, Prompt::Default, 77, Overflow::Truncate).unwrap(),
    }
}

#[test]
fn texts_have_the_vectors_of_sentence_transformers() {
    MODELS.into_iter().for_each(check_model);
}

#[test]
fn images_have_the_vectors_of_sentence_transformers() {
    for model in MODELS {
        for arithmetic in Arithmetic::all() {
            let processor = Processor { arithmetic, ..Processor::default() };
            let recipe = at(&Recipe::default(), Precision::F32);
            let embedder = Embedder::load(&files(model), &recipe, &processor).unwrap();
            assert!(embedder.description().images);
            for (file, wanted) in golden(model) {
                let tokens = input(&embedder, &file);
                let batch = [(&tokens, Output::default())];
                let found = embedder.embed(&batch).unwrap().remove(0).unwrap();
                let what = format!("{model} {file} {arithmetic:?}");
                if file.ends_with(".jpg") {
                    let length = wanted.iter().map(|x| x * x).sum::<f32>().sqrt();
                    let away = wanted.iter().zip(&found).map(|(a, b)| (a - b).abs() / length);
                    let away = away.fold(0.0, f32::max);
                    assert!(away < JPEG_TOLERANCE, "{what}: {away}");
                } else {
                    compare(&wanted, &found, &what);
                }
            }
        }
    }
}

/// Images and texts share batches, and none knows of the others.
#[test]
fn no_image_depends_on_its_neighbours() {
    let names = ["wide.png", "the sky", "tall.png", "rgba.png", "why is it blue?", "small.jpg"];
    for arithmetic in Isa::all().into_iter().map(Arithmetic::Kernels) {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            for model in MODELS {
                let embedders = [1, 3].map(|threads| {
                    let threads = Arc::new(Threads::new(threads));
                    let processor = Processor { arithmetic, threads };
                    let recipe = at(&Recipe::default(), precision);
                    Embedder::load(&files(model), &recipe, &processor).unwrap()
                });
                let tokens: Vec<Tokens> =
                    (0..24).map(|i| input(&embedders[0], names[i * i % 6])).collect();
                let batch: Vec<_> = tokens.iter().map(|t| (t, Output::default())).collect();
                for embedder in &embedders {
                    let together = embedder.embed(&batch).unwrap();
                    for (one, together) in batch.iter().zip(together) {
                        let alone = embedders[0].embed(&[*one]).unwrap().remove(0);
                        assert_eq!(alone, together, "{arithmetic:?} {precision} {model}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_recipe_holds_for_images_too() {
    let recipe = Recipe { normalize: Some(true), ..Recipe::default() };
    for model in MODELS {
        let embedder = load(&files(model), &recipe).unwrap();
        for name in ["wide.png", "the sky"] {
            let tokens = input(&embedder, name);
            let output = Output { dimensions: Some(5), ..Output::default() };
            let found = embedder.embed(&[(&tokens, output)]).unwrap().remove(0).unwrap();
            let length = found.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(found.len() == 5 && (length - 1.0).abs() < 1e-5, "{model} {name} {length}");
        }
    }
}

#[test]
fn the_plans_count_every_weight() {
    // The scale of CLIP's comparison, and SigLIP's bias for it.
    for (model, unused) in [("clip", 1), ("clip-plain", 1), ("siglip", 2)] {
        let embedder = load(&files(model), &Recipe::default()).unwrap();
        let description = embedder.description();
        assert!(description.parameters > description.plan.weights() + unused, "{model}");
        assert!(description.memory_bytes > 4 * (description.parameters - unused), "{model}");
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let embedder = load(&files("clip"), &Recipe::default()).unwrap();
    let error = embedder.image(b"hello").unwrap_err().to_string();
    assert_eq!(error, "the image cannot be read: it is no PNG, JPEG, WebP or GIF file");
    let texts = load(&files("bert-mean"), &Recipe::default()).unwrap();
    assert!(!texts.description().images);
    assert!(matches!(texts.image(&image("wide.png")), Err(Error::NoImages)));
}

/// Returns the files of a model with one of them replaced.
fn replaced(model: &str, name: &str, change: impl Fn(String) -> String) -> (Files, TempDir) {
    let (mut files, folder) = (files(model), tempfile::tempdir().unwrap());
    let old = fs::read_to_string(&files[name]).unwrap();
    let path = folder.path().join("file");
    let new = change(old.clone());
    assert_ne!(old, new, "{name} has it");
    fs::write(&path, new).unwrap();
    files.insert(name.to_owned(), path);
    (files, folder)
}

/// What the classes of SigLIP's tokenizers do is done although `tokenizer.json` does not say it.
#[test]
fn classes_of_tokenizers_are_obeyed() {
    let ids = |class: &str, text: &str| {
        let change = |old: String| old.replace("TokenizersBackend", class);
        let (files, _folder) = replaced("siglip", "tokenizer_config.json", change);
        let embedder = load(&files, &Recipe::default()).unwrap();
        embedder.tokenize(text, Prompt::Default, 20, Overflow::Truncate).unwrap().ids
    };
    let plain = ids("Other", "why is the sky blue");
    assert_eq!(plain.len(), 20);
    assert_ne!(ids("Other", " Why is the\n\tSKY - blue?! "), plain);
    assert_eq!(ids("SiglipTokenizer", " Why is the\n\tSKY - blue?! "), plain);
    let padding = plain.iter().filter(|id| **id == 0).count();
    let left = ids("Siglip2Tokenizer", "Why is the SKY blue");
    assert_eq!(left, [&vec![0; padding], &plain[..20 - padding]].concat());
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    for (model, from, to, words) in [
        ("clip-plain", "\"patch_size\": 8", "\"patch_size\": 33", "a patch is larger"),
        ("clip-plain", "\"patch_size\": 8", "\"patch_size\": 0", "'patch_size' is 0"),
        ("clip-plain", "\"image_size\": 32", "\"image_size\": 1e9", "'image_size' is"),
        ("clip-plain", "\"image_size\": 32", "\"image_size\": 40", "no images of 40 x 40"),
        ("clip-plain", "\"num_channels\": 3", "\"num_channels\": 4", "other than three colours"),
        ("clip-plain", "\"eos_token_id\": 613", "\"eos_token_id\": -1", "'eos_token_id' -1"),
        ("clip-plain", "\"hidden_size\": 16", "\"hidden_size\": 15", "does not split"),
        ("siglip", "\"vision_use_head\": true", "\"vision_use_head\": false", "without a head"),
        (
            "siglip",
            "\"projection_size\": 12",
            "\"projection_size\": 8",
            "images have 12 dimensions",
        ),
        ("siglip", "\"pad_token_id\": 1", "\"pad_token_id\": 1e9", "'pad_token_id'"),
    ] {
        let change = |old: String| old.replace(from, to);
        let (files, _folder) = replaced(model, "config.json", change);
        let error = describe(&files).unwrap_err().to_string();
        assert!(error.contains(words), "{to}: {error}");
    }
}
