//! What happens to single rows: norms.

use super::{LANES, multiply_add};

/// A norm over the width of a row.
pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>,
    /// Without one, rows keep their mean, and are only divided by their root mean square.
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) epsilon: f32,
}

/// Normalises every row of `x` in place; rows are `stride` apart.
#[inline(always)]
pub(super) fn norm<const FUSED: bool>(norm: &Norm, x: &mut [f32], stride: usize) {
    let width = norm.weight.len();
    for row in x.chunks_mut(stride) {
        let row = &mut row[..width];
        match &norm.bias {
            Some(bias) => {
                let mean = sum(row, |x| x) / width as f32;
                let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
                let scale = 1.0 / (variance + norm.epsilon).sqrt();
                for (x, (weight, bias)) in row.iter_mut().zip(norm.weight.iter().zip(bias)) {
                    *x = multiply_add::<FUSED>((*x - mean) * scale, *weight, *bias);
                }
            }
            None => {
                let scale = 1.0 / (sum(row, |x| x * x) / width as f32 + norm.epsilon).sqrt();
                row.iter_mut().zip(&norm.weight).for_each(|(x, weight)| *x = *x * scale * weight);
            }
        }
    }
}

/// Returns the sum of `f` over a row, in an order that depends on its length alone.
#[inline(always)]
pub(super) fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += f(chunk[i]);
        }
    }
    sums.iter_mut().zip(rest).for_each(|(sum, x)| *sum += f(*x));
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}
