//! y = x·Wᵀ + b, with what follows it done while the results are still in registers.

use std::ops::Range;

use super::multiply_add;
use crate::plan::Activation;

/// Bytes of `x` that stay in the second-level cache while every panel passes over them.
const BLOCK_BYTES: usize = 384 << 10;

/// The weights of a linear layer in panels: `width` columns side by side, for each input one after another.
pub(crate) struct Packed {
    pub(super) width: usize,
    inputs: usize,
    outputs: usize,
    panels: Vec<f32>,
    /// Padded to whole panels.
    bias: Vec<f32>,
}

/// What is done to a result before it is written.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<'a> {
    /// An activation.
    Activate(Activation),
    /// The sum with what stands at the same place here.
    Add(&'a [f32]),
}

/// A product: `x` is `[rows, inputs]`.
#[derive(Clone, Copy)]
pub(crate) struct Gemm<'a> {
    pub(crate) weights: &'a Packed,
    pub(crate) x: &'a [f32],
    pub(crate) epilogue: Epilogue<'a>,
}

/// Which rows and panels of a product to compute. The results are written without gaps: as many columns as the panels
/// have, beginning with the first.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) rows: Range<usize>,
    pub(crate) panels: Range<usize>,
}

impl Packed {
    /// Packs `[outputs, inputs]` weights into panels of `width` columns.
    pub(crate) fn new(weights: &[f32], bias: &[f32], inputs: usize, width: usize) -> Self {
        let outputs = bias.len();
        assert_eq!(weights.len(), inputs * outputs, "as many weights as the sizes say");
        let padded = outputs.next_multiple_of(width);
        let mut panels = vec![0.0; padded * inputs];
        for (panel, rows) in
            panels.chunks_exact_mut(width * inputs).zip(weights.chunks(width * inputs))
        {
            for (column, row) in rows.chunks_exact(inputs).enumerate() {
                let places = panel[column..].iter_mut().step_by(width);
                places.zip(row).for_each(|(place, weight)| *place = *weight);
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Self { width, inputs, outputs, panels, bias }
    }

    /// Returns the number of inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of panels.
    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width)
    }

    /// Returns the columns that panels stand for.
    pub(crate) fn columns(&self, panels: &Range<usize>) -> Range<usize> {
        panels.start * self.width..(panels.end * self.width).min(self.outputs)
    }
}

/// Computes a part with tiles of `M` rows by `N` columns.
#[inline(always)]
pub(super) fn run<const FUSED: bool, const M: usize, const N: usize>(
    gemm: &Gemm<'_>,
    part: &Part,
    y: &mut [f32],
) {
    let inputs = gemm.weights.inputs;
    let block = (BLOCK_BYTES / (4 * inputs)).max(M) / M * M;
    let columns = gemm.weights.columns(&part.panels);
    let mut start = part.rows.start;
    while start < part.rows.end {
        let end = (start + block).min(part.rows.end);
        for panel in part.panels.clone() {
            let mut row = start;
            while row < end {
                let rows = tile_rows(end - row, M);
                let place =
                    Place { row, panel, columns: columns.clone(), first_row: part.rows.start };
                step::<FUSED, N>(gemm, rows, &place, y);
                row += rows;
            }
        }
        start = end;
    }
}

/// Returns how many rows the next tile has: full ones, and the last two alike.
#[inline(always)]
fn tile_rows(left: usize, most: usize) -> usize {
    if left > most && left < 2 * most { left.div_ceil(2) } else { left.min(most) }
}

/// Where a tile lies in the product and in the part.
struct Place {
    row: usize,
    panel: usize,
    columns: Range<usize>,
    first_row: usize,
}

/// Computes one tile of up to 12 rows: the number of rows must be known when the code is compiled.
#[inline(always)]
fn step<const FUSED: bool, const N: usize>(
    gemm: &Gemm<'_>,
    rows: usize,
    place: &Place,
    y: &mut [f32],
) {
    macro_rules! by_rows {
        ($($rows:literal)*) => {
            match rows {
                $($rows => {
                    let panel = &gemm.weights.panels[place.panel * N * gemm.weights.inputs..];
                    let x = &gemm.x[place.row * gemm.weights.inputs..];
                    let sums = tile::<FUSED, $rows, N>(x, gemm.weights.inputs, gemm.weights.inputs, panel);
                    finish::<FUSED, $rows, N>(gemm, place, &sums, y);
                })*
                _ => unreachable!("tiles have 1 to 12 rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// Returns the products of `M` rows of `x`, `stride` apart and `inputs` long, with the `N` columns of a panel.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "as iterators the compiler builds vectors across the rows, 4 times slower"
)]
pub(super) fn tile<const FUSED: bool, const M: usize, const N: usize>(
    x: &[f32],
    stride: usize,
    inputs: usize,
    panel: &[f32],
) -> [[f32; N]; M] {
    let x = &x[..(M - 1) * stride + inputs];
    let (columns, _) = panel[..inputs * N].as_chunks::<N>();
    let mut sums = [[0.0; N]; M];
    for (i, weights) in columns.iter().enumerate() {
        for row in 0..M {
            #[expect(unsafe_code, reason = "a check in here costs half of the speed")]
            // SAFETY: i < inputs and row < M, so the index is below the length that x was cut to.
            let value = unsafe { *x.get_unchecked(row * stride + i) };
            for column in 0..N {
                sums[row][column] =
                    multiply_add::<FUSED>(value, weights[column], sums[row][column]);
            }
        }
    }
    sums
}

/// Adds the bias, applies the epilogue and writes a tile.
#[inline(always)]
fn finish<const FUSED: bool, const M: usize, const N: usize>(
    gemm: &Gemm<'_>,
    place: &Place,
    sums: &[[f32; N]; M],
    y: &mut [f32],
) {
    let outputs = gemm.weights.outputs;
    let column = place.panel * N;
    let (bias, _) = gemm.weights.bias[column..].as_chunks::<N>();
    let count = N.min(outputs - column);
    for (i, sums) in sums.iter().enumerate() {
        let mut row = *sums;
        row.iter_mut().zip(&bias[0]).for_each(|(x, b)| *x += b);
        match gemm.epilogue {
            Epilogue::Activate(activation) => {
                super::rows::activate::<FUSED, N>(activation, &mut row);
            }
            Epilogue::Add(other) => {
                let other = &other[(place.row + i) * outputs + column..][..count];
                row.iter_mut().zip(other).for_each(|(x, o)| *x += o);
            }
        }
        let start =
            (place.row - place.first_row + i) * place.columns.len() + column - place.columns.start;
        y[start..start + count].copy_from_slice(&row[..count]);
    }
}
