//! The innermost loop: some rows of inputs by one panel of weights, the sums in registers.
//!
//! In plain Rust the compiler finds the multiply-add instructions of each set by itself; what it cannot find, dot
//! products of bf16 and of integers, stands in `x86.rs`.

use super::{buffer::Plain, multiply_add};

/// The sums of a tile, each row in whole cache lines.
#[repr(align(64))]
pub(super) struct Sums<const M: usize, const N: usize>(pub(super) [[f32; N]; M]);

/// A form of the innermost loop.
pub(super) trait Tile {
    /// What a panel is made of: for one step and one column.
    type Element: Plain;

    /// Returns the products of `M` rows of inputs, `stride` lanes apart and `steps` long, with the `N` columns of a
    /// panel whose lines are `line` elements apart.
    fn sums<const M: usize, const N: usize>(
        x: &[f32],
        stride: usize,
        panel: &[Self::Element],
        line: usize,
        steps: usize,
    ) -> Sums<M, N>;
}

/// A form of turning rows into columns, block by block.
pub(super) trait Block {
    /// Rows and columns of a block.
    const SIDE: usize;

    /// Writes the rows of a block, `stride` apart, as columns of lines that are `line` apart.
    fn transpose(from: &[f32], stride: usize, to: &mut [f32], line: usize);
}

/// What the compiler makes of it.
pub(super) struct PlainBlock;

impl Block for PlainBlock {
    const SIDE: usize = 4;

    #[inline(always)]
    fn transpose(from: &[f32], stride: usize, to: &mut [f32], line: usize) {
        for row in 0..Self::SIDE {
            for column in 0..Self::SIDE {
                to[column * line + row] = from[row * stride + column];
            }
        }
    }
}

/// Checks what every tile relies on when it reads without checks.
#[inline(always)]
pub(super) fn check<const M: usize, const N: usize, T>(
    x: &[f32],
    stride: usize,
    panel: &[T],
    line: usize,
    steps: usize,
) {
    assert!(
        steps > 0 && x.len() >= (M - 1) * stride + steps,
        "rows of inputs are as long as they say"
    );
    assert!(panel.len() >= (steps - 1) * line + N, "a panel is as long as it says");
}

/// Fetches what will be read a few steps later.
#[inline(always)]
pub(super) fn prefetch<T>(panel: &[T], place: usize) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the compiler does not prefetch")]
    // SAFETY: fetching is allowed at any address, and does nothing at a wrong one.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(panel.as_ptr().wrapping_add(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (panel, place);
}

/// Lines fetched ahead.
pub(super) const AHEAD: usize = 24;

macro_rules! plain_tile {
    (
        $(#[$doc:meta])*
        $name:ident, $element:ty, $sum:ty,
        |$weight:ident| $widen:expr, |$x:ident, $w:ident, $s:ident| $step:expr
    ) => {
        $(#[$doc])*
        pub(super) struct $name<const FUSED: bool>;

        impl<const FUSED: bool> Tile for $name<FUSED> {
            type Element = $element;

            #[inline(always)]
            fn sums<const M: usize, const N: usize>(
                x: &[f32],
                stride: usize,
                panel: &[$element],
                line: usize,
                steps: usize,
            ) -> Sums<M, N> {
                check::<M, N, _>(x, stride, panel, line, steps);
                let mut sums = [[<$sum>::default(); N]; M];
                for i in 0..steps {
                    let mut weights = [Default::default(); N];
                    for column in 0..N {
                        #[expect(unsafe_code, reason = "a check in here costs half of the speed")]
                        // SAFETY: i < steps and column < N, so the index is below the length that was checked.
                        let $weight = unsafe { *panel.get_unchecked(i * line + column) };
                        weights[column] = $widen;
                    }
                    prefetch(panel, (i + AHEAD) * line);
                    if N * size_of::<$element>() > 64 {
                        prefetch(panel, (i + AHEAD) * line + N / 2);
                    }
                    for row in 0..M {
                        #[expect(unsafe_code, reason = "a check in here costs half of the speed")]
                        // SAFETY: i < steps and row < M, so the index is below the length that was checked.
                        let $x = unsafe { *x.get_unchecked(row * stride + i) };
                        for column in 0..N {
                            let ($w, $s) = (weights[column], sums[row][column]);
                            sums[row][column] = $step;
                        }
                    }
                }
                let mut floats = Sums([[0.0; N]; M]);
                for row in 0..M {
                    for column in 0..N {
                        floats.0[row][column] = sums[row][column] as f32;
                    }
                }
                floats
            }
        }
    };
}

plain_tile!(
    /// f32 by f32.
    Floats, f32, f32, |weight| weight, |x, w, s| multiply_add::<FUSED>(x, w, s)
);
plain_tile!(
    /// f32 by bf16, which is the upper half of an f32.
    Wide, u16, f32,
    |weight| f32::from_bits(u32::from(weight) << 16),
    |x, w, s| multiply_add::<FUSED>(x, w, s)
);
plain_tile!(
    /// Pairs of bf16.
    Pairs, u32, f32, |weight| weight,
    |x, w, s| multiply_add::<FUSED>(high(x.to_bits()), high(w), multiply_add::<FUSED>(low(x.to_bits()), low(w), s))
);
plain_tile!(
    /// Pairs of integers: 16 bits by 8.
    Words, u16, i32, |weight| weight.to_le_bytes().map(|w| i32::from(w.cast_signed())),
    |x, w, s| {
        let bits = x.to_bits();
        s + (bits & 0xffff).cast_signed() * w[0] + (bits >> 16).cast_signed() * w[1]
    }
);
plain_tile!(
    /// Fours of integers: 8 bits without a sign by 8 bits with one.
    Bytes, u32, i32, |weight| weight.to_le_bytes().map(|w| i32::from(w.cast_signed())),
    |x, w, s| {
        let x = x.to_bits().to_le_bytes().map(i32::from);
        s + (x[0] * w[0] + x[1] * w[1]) + (x[2] * w[2] + x[3] * w[3])
    }
);

/// The bf16 in the lower half, as f32.
#[inline(always)]
fn low(pair: u32) -> f32 {
    f32::from_bits(pair << 16)
}

/// The bf16 in the upper half, as f32.
#[inline(always)]
fn high(pair: u32) -> f32 {
    f32::from_bits(pair & 0xffff_0000)
}
