//! How does Pillow bring an image to a size? With a filter as wide as the pixels that become one, in whole numbers.
//!
//! Both passes round to bytes, and weights have 22 bits behind the point: whoever computes more exactly, or in another
//! order, gets other pixels.

use std::ops::Range;

use super::{CHANNELS, Picture};

/// Bits behind the point of a weight.
const PRECISION: u32 = 22;
/// What a sum begins with, so that it is rounded.
const HALF: i32 = 1 << (PRECISION - 1);

/// Which filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// A triangle.
    Bilinear,
    /// The cubic of Keys with a = −0.5.
    Bicubic,
}

/// The part of the result that is wanted.
pub(super) struct Window {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// What one pixel is made of: the first of its sources, and the weight of each.
struct Weights {
    first: usize,
    weights: Vec<i32>,
}

impl Filter {
    /// Returns how far the filter reaches.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bilinear | Self::Bicubic => 0.0,
        }
    }

    /// Returns what the pixels `wanted` of `to` are made of, of so many sources.
    fn weights(self, from: usize, to: usize, wanted: Range<usize>) -> Vec<Weights> {
        let scale = from as f64 / to as f64;
        let wide = scale.max(1.0);
        let (support, narrow) = (self.support() * wide, 1.0 / wide);
        let of = |place: usize| {
            let centre = (place as f64 + 0.5) * scale;
            // A cast cuts towards zero, and makes zero of what is less.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weight = |x: usize| self.at((x as f64 - centre + 0.5) * narrow);
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            let rounded = |weight: f64| {
                let weight = weight / sum * f64::from(1u32 << PRECISION);
                (weight + 0.5f64.copysign(weight)) as i32
            };
            Weights { first, weights: weights.into_iter().map(rounded).collect() }
        };
        wanted.map(of).collect()
    }
}

/// Brings a picture to a size, and returns a part of that.
pub(super) fn resize(
    picture: &Picture,
    (width, height): (usize, usize),
    window: &Window,
    filter: Filter,
) -> Vec<u8> {
    let across = filter.weights(picture.width, width, window.left..window.left + window.width);
    let down = filter.weights(picture.height, height, window.top..window.top + window.height);
    let sources = |weights: &[Weights]| match weights {
        [first, .., last] => first.first..last.first + last.weights.len(),
        [only] => only.first..only.first + only.weights.len(),
        [] => 0..0,
    };
    let (columns, rows) = (sources(&across), sources(&down));
    // Pillow 13 begins with the height where that shrinks by more than twice as many pixels as the width.
    if picture.height.saturating_sub(height) > 2 * picture.width.saturating_sub(width) {
        let narrow = pass_down(picture, &down, columns.clone());
        return pass_across(&narrow, &across, columns.start, 0..narrow.height).rgb;
    }
    let flat = pass_across(picture, &across, 0, rows.clone());
    let down: Vec<Weights> = down
        .into_iter()
        .map(|weights| Weights { first: weights.first - rows.start, ..weights })
        .collect();
    pass_down(&flat, &down, 0..flat.width).rgb
}

/// Changes the width of some rows of a picture that begins with the column `start`.
fn pass_across(
    picture: &Picture,
    weights: &[Weights],
    start: usize,
    rows: Range<usize>,
) -> Picture {
    let mut rgb = Vec::with_capacity(rows.len() * weights.len() * CHANNELS);
    let stride = picture.width * CHANNELS;
    for row in picture.rgb[rows.start * stride..].chunks_exact(stride).take(rows.len()) {
        for Weights { first, weights } in weights {
            let sources = row[(first - start) * CHANNELS..].chunks_exact(CHANNELS);
            let mut sums = [HALF; CHANNELS];
            for (from, weight) in sources.zip(weights) {
                sums.iter_mut().zip(from).for_each(|(sum, x)| *sum += i32::from(*x) * weight);
            }
            rgb.extend(sums.map(byte));
        }
    }
    Picture { width: weights.len(), height: rows.len(), rgb }
}

/// Changes the height of some columns of a picture.
fn pass_down(picture: &Picture, weights: &[Weights], columns: Range<usize>) -> Picture {
    let mut rgb = Vec::with_capacity(weights.len() * columns.len() * CHANNELS);
    let mut sums = vec![HALF; columns.len() * CHANNELS];
    for Weights { first, weights } in weights {
        sums.fill(HALF);
        let rows = picture.rgb.chunks_exact(picture.width * CHANNELS).skip(*first);
        for (row, weight) in rows.zip(weights) {
            let from = &row[columns.start * CHANNELS..];
            sums.iter_mut().zip(from).for_each(|(sum, x)| *sum += i32::from(*x) * weight);
        }
        rgb.extend(sums.iter().map(|sum| byte(*sum)));
    }
    Picture { width: columns.len(), height: weights.len(), rgb }
}

/// Returns the byte of a sum.
fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
