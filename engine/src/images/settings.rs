//! What does `preprocessor_config.json` ask for?

use serde_json::Value;

use super::{CHANNELS, resize::Filter};
use crate::{
    Error, Files,
    plan::{Patches, most},
    repository,
    settings::Settings,
};

/// Where the settings of the processor stand, the first that is there; the second holds those of other parts too.
const FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
/// Switches of processors that are obeyed; `do_convert_rgb` is always on.
const SWITCHES: [&str; 5] =
    ["do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"];

/// How an image is made ready for a tower.
#[derive(Debug, PartialEq)]
pub(crate) struct Sight {
    /// What the image is brought to.
    pub(super) size: Size,
    pub(super) filter: Filter,
    /// Pixels of a side of what the tower sees.
    pub(super) side: usize,
    /// Pixels of a side of a patch.
    pub(super) patch: usize,
    /// What each byte becomes, for each channel.
    pub(super) tables: Box<[[f32; 256]; CHANNELS]>,
}

/// What an image is brought to before its middle is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// The shortest side, the other following.
    Shortest(usize),
    /// Width and height.
    Both(usize, usize),
}

impl Size {
    /// Returns the width and height of an image that had these before.
    pub(super) fn of(self, width: usize, height: usize) -> (usize, usize) {
        // As transformers rounds it: a product, a quotient, and what is behind the point is dropped.
        let long = |short: usize, wanted: usize, long: usize| wanted * long / short;
        match self {
            Self::Both(width, height) => (width, height),
            Self::Shortest(wanted) if width <= height => (wanted, long(width, wanted, height)),
            Self::Shortest(wanted) => (long(height, wanted, width), wanted),
        }
    }

    /// Returns the shortest side that an image may have then.
    fn least(self) -> usize {
        match self {
            Self::Shortest(size) => size,
            Self::Both(width, height) => width.min(height),
        }
    }
}

impl Sight {
    /// Reads the settings beside the model, for a tower of such patches.
    pub(crate) fn read(files: &Files, folder: &str, patches: &Patches) -> Result<Self, Error> {
        let config = find(files, folder)?;
        known_processor(&config)?;
        known_switches(&config)?;
        let side = patches.image;
        let size = size(&config)?;
        let cuts = on(&config, "do_center_crop", !is_square(&config));
        if cuts && crop(&config)? != side || !cuts && size != Size::Both(side, side) {
            return Err(config.error(format!("gives no images of {side} x {side} pixels")));
        }
        if size.least() < side {
            return Err(
                config.error(format!("images are cut to {side} pixels, which are not there"))
            );
        }
        let tables = Box::new(tables(&config)?);
        Ok(Self { size, filter: filter(&config)?, side, patch: patches.size, tables })
    }
}

fn find(files: &Files, folder: &str) -> Result<Settings, Error> {
    for path in FILES.map(|name| format!("{folder}{name}")) {
        let Some(bytes) = repository::read(files, &path)? else { continue };
        let settings = Settings::parse(&path, &bytes)?;
        return Ok(match settings.get(&["image_processor"]).filter(|inner| inner.is_object()) {
            Some(inner) => Settings::new(&path, inner.clone()),
            None => settings,
        });
    }
    Err(Error::file(format!("{folder}{}", FILES[0]), "missing"))
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!("{what} cannot run in this version"))
}

/// Returns the processor without the word for how it computes.
fn processor(config: &Settings) -> &str {
    let name = config.text(&["image_processor_type", "feature_extractor_type"]);
    let name = name.unwrap_or("CLIPImageProcessor");
    name.trim_end_matches("Fast").trim_end_matches("Pil")
}

fn known_processor(config: &Settings) -> Result<(), Error> {
    match processor(config) {
        "CLIPImageProcessor" | "CLIPFeatureExtractor" | "SiglipImageProcessor" => Ok(()),
        other => Err(unsupported(&format!("image processor '{other}'"))),
    }
}

/// Says whether one number as a size is that of both sides, and whether nothing is cut out unless it is said.
fn is_square(config: &Settings) -> bool {
    processor(config) == "SiglipImageProcessor"
}

/// Refuses steps that are not built, and images of any size.
fn known_switches(config: &Settings) -> Result<(), Error> {
    let keys = config.keys().filter(|key| key.starts_with("do_") && !SWITCHES.contains(key));
    if let Some(key) = keys.into_iter().find(|key| config.flag(&[key])) {
        return Err(unsupported(&format!("'{key}' of an image processor")));
    }
    match on(config, "do_resize", true) {
        true => Ok(()),
        false => Err(unsupported("images that are not resized")),
    }
}

fn on(config: &Settings, key: &str, default: bool) -> bool {
    config.get(&[key]).and_then(Value::as_bool).unwrap_or(default)
}

/// Reads a number of pixels.
fn pixels(config: &Settings, value: &Value) -> Result<usize, Error> {
    let size = value.as_u64().filter(|n| (1..=most::SIDE as u64).contains(n));
    size.map(|n| n as usize)
        .ok_or_else(|| config.error(format!("{value} is no side of 1 to {} pixels", most::SIDE)))
}

fn size(config: &Settings) -> Result<Size, Error> {
    let default = Value::from(224);
    let value = config.get(&["size"]).unwrap_or(&default);
    let side = |key: &str| value.get(key).map(|value| pixels(config, value)).transpose();
    if value.get("longest_edge").is_some_and(|longest| !longest.is_null()) {
        return Err(unsupported("images with a longest edge"));
    }
    match (side("shortest_edge")?, side("width")?, side("height")?) {
        (Some(shortest), None, None) => Ok(Size::Shortest(shortest)),
        (None, Some(width), Some(height)) => Ok(Size::Both(width, height)),
        (None, None, None) => {
            let size = pixels(config, value)?;
            Ok(if is_square(config) { Size::Both(size, size) } else { Size::Shortest(size) })
        }
        _ => Err(config.error("'size' is neither a shortest edge nor width and height")),
    }
}

/// Reads the side of what is cut out, a square.
fn crop(config: &Settings) -> Result<usize, Error> {
    let default = Value::from(224);
    let value = config.get(&["crop_size"]).unwrap_or(&default);
    let sides = [value.get("height"), value.get("width")];
    match sides {
        [Some(height), Some(width)] if height == width => pixels(config, height),
        [None, None] => pixels(config, value),
        _ => Err(unsupported("images that are no squares")),
    }
}

/// Reads the filter, by Pillow's numbers.
fn filter(config: &Settings) -> Result<Filter, Error> {
    match config.number(&["resample"]) {
        Some(2.0) => Ok(Filter::Bilinear),
        None | Some(3.0) => Ok(Filter::Bicubic),
        Some(other) => Err(unsupported(&format!("resampling by filter {other}"))),
    }
}

/// Returns what each byte becomes: in f64 until it is scaled, then in f32, as transformers computes it.
fn tables(config: &Settings) -> Result<[[f32; 256]; CHANNELS], Error> {
    let clip =
        ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]);
    let (means, deviations) = if is_square(config) { ([0.5; 3], [0.5; 3]) } else { clip };
    let means = three(config, "image_mean", means)?;
    let deviations = three(config, "image_std", deviations)?;
    if deviations.iter().any(|deviation| *deviation as f32 <= 0.0) {
        return Err(config.error("'image_std' divides by nothing"));
    }
    let scale = if on(config, "do_rescale", true) {
        config.positive(&["rescale_factor"], 1.0 / 255.0)?
    } else {
        1.0
    };
    let normal = on(config, "do_normalize", true);
    let value = |channel: usize, byte: usize| {
        let scaled = (byte as f64 * scale) as f32;
        let shifted = scaled - means[channel] as f32;
        if normal { shifted / deviations[channel] as f32 } else { scaled }
    };
    Ok(std::array::from_fn(|channel| std::array::from_fn(|byte| value(channel, byte))))
}

/// Reads a number for each channel.
fn three(config: &Settings, key: &str, default: [f64; CHANNELS]) -> Result<[f64; CHANNELS], Error> {
    let Some(value) = config.get(&[key]) else { return Ok(default) };
    let numbers = value.as_array().into_iter().flatten().map(Value::as_f64);
    let numbers: Option<Vec<f64>> = numbers.collect();
    numbers
        .and_then(|numbers| <[f64; CHANNELS]>::try_from(numbers).ok())
        .filter(|numbers| numbers.iter().all(|number| number.is_finite()))
        .ok_or_else(|| config.error(format!("'{key}' is no list of three numbers")))
}
