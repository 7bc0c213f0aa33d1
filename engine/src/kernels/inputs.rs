//! How rows of f32 become the inputs of a product: copied, rounded to bf16, or quantised row by row.

use super::{
    LANES, ROUND,
    buffer::{Buffer, elements},
    multiply_add,
    packed::Format,
};

/// Rows of inputs: 32 bits for each group.
#[derive(Default)]
pub(crate) struct Inputs {
    /// Rows, a stride apart. The bits of an f32, of two or of four narrower numbers.
    pub(super) lanes: Buffer,
    pub(super) stride: usize,
    /// What each row is to be multiplied with, and its zero point; of quantised formats only.
    pub(super) scales: Vec<[f32; 2]>,
}

/// Rows that lie a stride apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) width: usize,
}

impl<'a> Rows<'a> {
    /// Returns one row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..self.width]
    }
}

/// Returns the distance between rows of so many lanes: rows a multiple of 2 KiB apart would fight for the same
/// places in the cache.
pub(crate) fn stride(lanes: usize) -> usize {
    let stride = lanes.next_multiple_of(LANES);
    if stride.is_multiple_of(512) { stride + LANES } else { stride }
}

impl Inputs {
    /// Makes room for rows of so many numbers.
    pub(crate) fn reserve(&mut self, format: Format, rows: usize, width: usize) {
        self.stride = stride(width.div_ceil(format.group()));
        let padded = if format.is_tiled() { rows.next_multiple_of(LANES) } else { rows };
        self.lanes.grow(padded * self.stride);
        if format.is_quantised() && self.scales.len() < rows {
            self.scales.resize(rows, [0.0; 2]);
        }
    }
}

/// Fills the inputs of a product from so many rows.
#[inline(always)]
pub(super) fn fill<const FUSED: bool>(
    format: Format,
    rows: &Rows<'_>,
    count: usize,
    inputs: &mut Inputs,
) {
    inputs.reserve(format, count, rows.width);
    for row in 0..count {
        let from = rows.row(row);
        let lanes = &mut inputs.lanes[row * inputs.stride..][..inputs.stride];
        match format {
            Format::F32 | Format::Wide => lanes[..from.len()].copy_from_slice(from),
            Format::Pairs | Format::PairTiles => narrow(from, elements::<u16>(lanes), bf16),
            Format::Words | Format::Bytes | Format::ByteTiles => {
                let (scale, zero) = range(from);
                inputs.scales[row] = [scale, zero];
                let quantise = Quantise { factor: 1.0 / scale, zero };
                let quantise = |x| quantise.apply::<FUSED>(x);
                if format == Format::Words {
                    narrow(from, elements::<u16>(lanes), |x| quantise(x) as u16);
                } else {
                    narrow(from, elements::<u8>(lanes), |x| quantise(x) as u8);
                }
            }
        }
    }
}

/// Writes numbers, narrowed, and zeros behind the last: what fills a tile up meets weights of zero, and must be a
/// number.
#[inline(always)]
fn narrow<T: Default + Copy>(from: &[f32], to: &mut [T], narrow: impl Fn(f32) -> T) {
    let (whole, rest) = to.split_at_mut(from.len());
    whole.iter_mut().zip(from).for_each(|(to, x)| *to = narrow(*x));
    rest.fill(T::default());
}

/// Rounds to bf16, ties to even; a NaN stays one.
#[inline(always)]
pub(super) fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() { 0x7fc0 } else { rounded as u16 }
}

/// How a number becomes one of 0 to 255.
#[derive(Clone, Copy)]
struct Quantise {
    factor: f32,
    zero: f32,
}

impl Quantise {
    #[inline(always)]
    fn apply<const FUSED: bool>(self, x: f32) -> u32 {
        let scaled = multiply_add::<FUSED>(x, self.factor, self.zero).clamp(0.0, 255.0);
        (scaled + ROUND).to_bits() & 0xff
    }
}

/// Returns the scale and the zero point that spread a row over 0 to 255, zero being met exactly. A row with a
/// number that is not finite gets a scale that is not, so that it shows.
#[inline(always)]
fn range(row: &[f32]) -> (f32, f32) {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let (mut least, mut most, mut broken) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    let mut look = |i: usize, x: f32| {
        least[i] = if x < least[i] { x } else { least[i] };
        most[i] = if x > most[i] { x } else { most[i] };
        broken[i] += 0.0 * x;
    };
    for chunk in chunks {
        for i in 0..LANES {
            look(i, chunk[i]);
        }
    }
    for (i, x) in rest.iter().enumerate() {
        look(i, *x);
    }
    let least = least.iter().fold(0.0f32, |a, b| a.min(*b));
    let most = most.iter().fold(0.0f32, |a, b| a.max(*b));
    let span = if most > least { ((most - least) / 255.0).max(f32::MIN_POSITIVE) } else { 1.0 };
    let scale = span + broken.iter().sum::<f32>();
    (scale, (-least / span).round_ties_even())
}
