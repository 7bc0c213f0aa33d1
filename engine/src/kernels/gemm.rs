//! y = x·Wᵀ + b, with what follows it done while the results are still in registers.

use std::{marker::PhantomData, ops::Range};

use super::{Isa, by_rows, functions, inputs::Inputs, multiply_add, packed::Packed, tiles::Tile};
use crate::{plan::Activation, threads::Team};

/// What is done with a result.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Epilogue {
    /// It is written, after an activation.
    Write(Activation),
    /// It is added to what stands at its place.
    Add,
    /// What stands at its place is multiplied with it.
    Multiply,
}

/// Rows of floats that several threads write to, each to its own columns or rows.
#[derive(Clone, Copy)]
pub(super) struct Sheet<'a> {
    start: *mut f32,
    length: usize,
    stride: usize,
    lent: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "threads share out the columns of a product")]
// SAFETY: a sheet stands for an exclusive borrow; `part` demands that no two threads use it for the same place.
unsafe impl Send for Sheet<'_> {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Sheet<'_> {}

impl<'a> Sheet<'a> {
    /// Lends rows, a stride apart.
    pub(super) fn new(values: &'a mut [f32], stride: usize) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), stride, lent: PhantomData }
    }

    /// Returns the same rows without the first few, and without the first few columns of each.
    pub(super) fn from(self, row: usize, column: usize) -> Self {
        let skipped = row * self.stride + column;
        assert!(skipped <= self.length, "a part begins inside");
        Self { start: self.start.wrapping_add(skipped), length: self.length - skipped, ..self }
    }

    /// Returns columns of a row.
    ///
    /// # Safety
    ///
    /// Nobody else uses the same place at the same time.
    #[expect(unsafe_code, reason = "threads share out the columns of a product")]
    #[inline(always)]
    // SAFETY: the caller answers for it, as said above.
    pub(super) unsafe fn part(&mut self, row: usize, columns: Range<usize>) -> &mut [f32] {
        let start = row * self.stride + columns.start;
        assert!(start + columns.len() <= self.length, "a part lies inside");
        // SAFETY: inside of what was lent, as just checked; the caller answers for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), columns.len()) }
    }
}

/// A product of the first `rows` rows of the inputs.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) weights: &'a Packed,
    pub(crate) inputs: &'a Inputs,
    pub(crate) rows: usize,
    pub(crate) epilogue: Epilogue,
}

/// Some panels of a product. Results go to the rows of `y`, each to the column that it has in the whole.
pub(super) struct Gemm<'a> {
    pub(super) product: Product<'a>,
    pub(super) panels: Range<usize>,
    pub(super) y: Sheet<'a>,
}

/// Parts that a product has for each thread, so that one that comes late still finds some.
const PARTS_PER_THREAD: usize = 2;

/// Computes a product into rows of `y`, `stride` apart; a team shares out the columns.
pub(super) fn product(
    isa: Isa,
    team: Team<'_>,
    product: Product<'_>,
    y: &mut [f32],
    stride: usize,
) {
    assert!(stride >= product.weights.outputs(), "rows do not overlap");
    let panels = product.weights.panels();
    let parts =
        if team.threads() == 1 { 1 } else { (PARTS_PER_THREAD * team.threads()).min(panels) };
    let y = Sheet::new(y, stride);
    team.run(parts, &|part| {
        let panels = panels * part / parts..panels * (part + 1) / parts;
        isa.gemm(&Gemm { product, panels, y });
    });
}

/// Computes a product with tiles of up to `M` rows by `N` columns, each of which is given to `finish` with its panel
/// and its first row.
#[inline(always)]
pub(super) fn run<T: Tile, const M: usize, const N: usize>(
    gemm: &Gemm<'_>,
    finish: impl Fn(usize, usize, &[[f32; N]]),
) {
    let Product { weights, inputs, .. } = gemm.product;
    for panel in gemm.panels.clone() {
        let lines = weights.panel::<T::Element>(panel);
        let mut row = 0;
        while row < gemm.product.rows {
            let rows = tile_rows(gemm.product.rows - row, M);
            let x = &inputs.lanes[row * inputs.stride..];
            by_rows!(rows, ROWS => {
                let sums = T::sums::<ROWS, N>(x, inputs.stride, lines, N, weights.steps());
                finish(panel, row, &sums.0);
            });
            row += rows;
        }
    }
}

/// Returns how many rows the next tile has: full ones, and the last two alike.
#[inline(always)]
pub(super) fn tile_rows(left: usize, most: usize) -> usize {
    if left > most && left < 2 * most { left.div_ceil(2) } else { left.min(most) }
}

/// Takes integers back to numbers, adds the bias, applies the epilogue and writes a tile.
#[inline(always)]
pub(super) fn finish<const FUSED: bool, const N: usize>(
    gemm: &Gemm<'_>,
    panel: usize,
    row: usize,
    sums: &[[f32; N]],
) {
    let Product { weights, inputs, epilogue, .. } = gemm.product;
    let column = panel * N;
    let count = N.min(weights.outputs() - column);
    let bias = &weights.bias[column..][..count];
    let mut y = gemm.y;
    for (i, sums) in sums.iter().enumerate() {
        let sums = &sums[..count];
        #[expect(unsafe_code, reason = "threads share out the columns of a product")]
        // SAFETY: `product` gives each thread its own panels, and a tile belongs to one of them.
        let places = unsafe { &mut y.part(row + i, column..column + count)[..count] };
        if weights.format().is_quantised() {
            let [scale, zero] = inputs.scales[row + i];
            let scales = &weights.scales[column..][..count];
            let offsets = &weights.sums[column..][..count];
            put::<FUSED>(epilogue, places, |i| {
                multiply_add::<FUSED>(zero, offsets[i], sums[i]) * scales[i] * scale + bias[i]
            });
        } else {
            put::<FUSED>(epilogue, places, |i| sums[i] + bias[i]);
        }
    }
}

/// Puts values to their places.
#[inline(always)]
fn put<const FUSED: bool>(epilogue: Epilogue, places: &mut [f32], value: impl Fn(usize) -> f32) {
    match epilogue {
        Epilogue::Write(activation) => functions::write::<FUSED>(activation, places, value),
        Epilogue::Add => functions::each(places, |y, i| y + value(i)),
        Epilogue::Multiply => functions::each(places, |y, i| y * value(i)),
    }
}
