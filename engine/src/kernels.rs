//! Which arithmetic runs on this processor: one generic source per kernel, one instance per instruction set.
//!
//! Kernels are plain Rust over arrays; compiled with an instruction set enabled they reach its peak without
//! intrinsics, but for dot products. A text's numbers never depend on what is computed beside it: every sum runs in
//! one order, whatever the number of rows, texts or threads.

#![expect(
    clippy::needless_range_loop,
    reason = "as iterators the compiler builds vectors across the rows, 4 times slower"
)]

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod buffer;
mod functions;
mod gemm;
mod inputs;
mod packed;
mod relative;
mod rows;
#[cfg(test)]
mod tests;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86;

use modelfiles::recipe::Precision;

pub(crate) use attention::{Distances, ProjectionNorms, Projections, Rotation, Shape};
pub(crate) use buffer::Buffer;
pub(crate) use gemm::{Epilogue, Product};
pub(crate) use inputs::{Inputs, Rows, stride};
pub(crate) use packed::{Format, Packed, Source};
pub(crate) use relative::{Panels, Places, Relative};
pub(crate) use rows::Norm;

use crate::threads::Team;
use attention::{Heads, Space};
use gemm::{Gemm, Sheet};

/// Numbers handled side by side: as many as the widest registers hold.
const LANES: usize = 16;
/// 1.5·2²³: adding it leaves the nearest integer in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// An instruction set that this processor has; only [`Isa::all`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa {
    name: &'static str,
    set: Set,
    /// How products of bf16 and of integers are computed.
    bf16: Format,
    int8: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

/// Calls the instance of a kernel that a set stands for.
macro_rules! dispatch {
    ($isa:expr, $kernel:ident($($argument:expr),*)) => {
        match $isa.set {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "runs code compiled for a detected instruction set")]
            // SAFETY: an `Isa` of this kind exists only where the processor has the features.
            Set::Avx512 => unsafe { avx512::$kernel($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "runs code compiled for a detected instruction set")]
            // SAFETY: as above.
            Set::Avx2 => unsafe { avx2::$kernel($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            Set::Neon => neon::$kernel($($argument),*),
            Set::Portable => portable::$kernel($($argument),*),
        }
    };
}

/// Runs a body in which the number of rows of a tile, up to 12, is a constant: it must be known when code is
/// compiled.
macro_rules! by_rows {
    ($rows:expr, $name:ident => $body:expr) => {
        by_rows!($rows, $name, $body, 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    ($rows:expr, $name:ident, $body:expr, $($count:literal)*) => {
        match $rows {
            $($count => {
                const $name: usize = $count;
                $body
            })*
            _ => unreachable!("tiles have 1 to 12 rows"),
        }
    };
}
use by_rows;

/// Compiles every kernel once more: `$m` rows by `$n` columns in registers, multiply-add fused or not, and a
/// product for each format, which may need further features.
macro_rules! instance {
    (
        $set:ident, $fused:literal, $m:literal x $n:literal, $block:ty, [$(#[$features:meta])*],
        $($format:ident: $tile:ty, [$(#[$more:meta])*];)*
    ) => {
        mod $set {
            use super::*;

            pub(super) const TILE: (usize, usize) = ($m, $n);

            $($(#[$more])*
            pub(super) fn $format(gemm: &Gemm<'_>) {
                gemm::run::<$tile, $m, $n>(gemm, |panel, row, sums| finish(gemm, panel, row, sums));
            })*

            $(#[$features])*
            pub(super) fn finish(gemm: &Gemm<'_>, panel: usize, row: usize, sums: &[[f32; $n]]) {
                gemm::finish::<$fused, $n>(gemm, panel, row, sums);
            }

            $(#[$features])*
            pub(super) fn fill(format: Format, rows: &Rows<'_>, count: usize, inputs: &mut Inputs) {
                inputs::fill::<$fused>(format, rows, count, inputs);
            }

            $(#[$features])*
            pub(super) fn norm(norm: &Norm, x: &mut [f32], stride: usize) {
                rows::norm::<$fused>(norm, x, stride);
            }

            $(#[$features])*
            pub(super) fn attend(
                heads: &Heads<'_>,
                group: usize,
                space: &mut Space,
                context: Sheet<'_>,
            ) {
                attention::run::<$block, $fused, $m, $n>(heads, group, space, context);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instance!(avx512, true, 12 x 32, x86::Block256,
    [#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]],
    floats: tiles::Floats<true>, [#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]];
    wide: tiles::Wide<true>, [#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]];
    pairs: x86::Pairs512, [#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,avx512bf16")]];
    words: x86::Words512, [#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]];
    bytes: x86::Bytes512, [#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,avx512vnni")]];
);
#[cfg(target_arch = "x86_64")]
instance!(avx2, true, 6 x 16, x86::Block256,
    [#[target_feature(enable = "avx2,fma")]],
    floats: tiles::Floats<true>, [#[target_feature(enable = "avx2,fma")]];
    wide: tiles::Wide<true>, [#[target_feature(enable = "avx2,fma")]];
    words: x86::Words256, [#[target_feature(enable = "avx2,fma")]];
    bytes: x86::Bytes256, [#[target_feature(enable = "avx2,fma,avxvnni")]];
);
#[cfg(target_arch = "aarch64")]
instance!(neon, true, 8 x 12, tiles::PlainBlock, [],
    floats: tiles::Floats<true>, [];
    wide: tiles::Wide<true>, [];
    words: tiles::Words<true>, [];
);
// Without a fused instruction a fused multiply-add is a call into the C library.
instance!(portable, false, 4 x 8, tiles::PlainBlock, [],
    floats: tiles::Floats<false>, [];
    wide: tiles::Wide<false>, [];
    pairs: tiles::Pairs<false>, [];
    words: tiles::Words<false>, [];
    bytes: tiles::Bytes<false>, [];
);

impl Isa {
    /// Returns every set of this processor, the best first.
    pub fn all() -> Vec<Self> {
        let isa = |name, set, bf16, int8| Self { name, set, bf16, int8 };
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wide = narrow
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let vnni = wide && is_x86_feature_detected!("avx512vnni");
            let bf16 = vnni && is_x86_feature_detected!("avx512bf16");
            let narrow_vnni = narrow && is_x86_feature_detected!("avxvnni");
            let tiles = bf16 && amx::is_there();
            sets.extend(
                tiles.then(|| isa("amx", Set::Avx512, Format::PairTiles, Format::ByteTiles)),
            );
            sets.extend(bf16.then(|| isa("avx512bf16", Set::Avx512, Format::Pairs, Format::Bytes)));
            sets.extend(vnni.then(|| isa("avx512vnni", Set::Avx512, Format::Wide, Format::Bytes)));
            sets.extend(wide.then(|| isa("avx512", Set::Avx512, Format::Wide, Format::Words)));
            sets.extend(
                narrow_vnni.then(|| isa("avxvnni", Set::Avx2, Format::Wide, Format::Bytes)),
            );
            sets.extend(narrow.then(|| isa("avx2", Set::Avx2, Format::Wide, Format::Words)));
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(isa("neon", Set::Neon, Format::Wide, Format::Words));
        // The measure of all others: it rounds and adds up as the best of them do.
        sets.push(isa("portable", Set::Portable, Format::Pairs, Format::Bytes));
        sets
    }

    /// Returns the best set of this processor.
    pub fn best() -> Self {
        Self::all()[0]
    }

    /// Returns the set of this name, if this processor has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|isa| isa.name == name)
    }

    /// Returns its name, such as `avx2`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Returns the precision that is computed with when nobody says: bf16 where the processor multiplies it, else
    /// f32.
    pub(crate) fn precision(self, wanted: Option<Precision>) -> Precision {
        match wanted {
            Some(Precision::Auto) | None
                if self.set != Set::Portable && self.bf16 != Format::Wide =>
            {
                Precision::Bf16
            }
            Some(Precision::Auto) | None => Precision::F32,
            Some(precision) => precision,
        }
    }

    /// Returns how products are computed at a precision.
    pub(crate) fn format(self, precision: Precision) -> Format {
        match precision {
            Precision::Auto | Precision::F32 => Format::F32,
            Precision::Bf16 => self.bf16,
            Precision::Int8 => self.int8,
        }
    }

    /// Says whether a matrix unit computes products of bf16 and of integers.
    pub(crate) fn is_tiled(self) -> bool {
        self.bf16.is_tiled()
    }

    /// Returns how many rows and columns a tile has.
    pub(crate) fn tile(self) -> (usize, usize) {
        match self.set {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => avx512::TILE,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => avx2::TILE,
            #[cfg(target_arch = "aarch64")]
            Set::Neon => neon::TILE,
            Set::Portable => portable::TILE,
        }
    }

    /// Computes a product into rows of `y`, `stride` apart; a team shares out the columns.
    pub(crate) fn product(
        self,
        team: Team<'_>,
        product: Product<'_>,
        y: &mut [f32],
        stride: usize,
    ) {
        gemm::product(self, team, product, y, stride);
    }

    fn gemm(self, gemm: &Gemm<'_>) {
        let format = gemm.product.weights.format();
        assert_eq!(gemm.product.weights.width(), self.tile().1, "weights are packed for this set");
        assert!(
            matches!(format, Format::F32 | Format::Wide)
                || format == self.bf16
                || format == self.int8,
            "weights are packed for this set"
        );
        match format {
            Format::F32 => dispatch!(self, floats(gemm)),
            Format::Wide => dispatch!(self, wide(gemm)),
            Format::Pairs => self.pairs(gemm),
            Format::Words => dispatch!(self, words(gemm)),
            Format::Bytes => self.bytes(gemm),
            Format::PairTiles | Format::ByteTiles => self.tiles(gemm),
        }
    }

    fn tiles(self, gemm: &Gemm<'_>) {
        match self.set {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "runs code compiled for a detected instruction set")]
            // SAFETY: an `Isa` of this kind exists only where the processor has the features.
            Set::Avx512 => unsafe { amx::run(gemm) },
            _ => unreachable!("no other set has a matrix unit"),
        }
    }

    fn pairs(self, gemm: &Gemm<'_>) {
        match self.set {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "runs code compiled for a detected instruction set")]
            // SAFETY: `bf16` is `Pairs` only where the processor has the features.
            Set::Avx512 => unsafe { avx512::pairs(gemm) },
            _ => portable::pairs(gemm),
        }
    }

    fn bytes(self, gemm: &Gemm<'_>) {
        match self.set {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "runs code compiled for a detected instruction set")]
            // SAFETY: `int8` is `Bytes` only where the processor has the features.
            Set::Avx512 => unsafe { avx512::bytes(gemm) },
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "runs code compiled for a detected instruction set")]
            // SAFETY: as above.
            Set::Avx2 => unsafe { avx2::bytes(gemm) },
            _ => portable::bytes(gemm),
        }
    }

    /// Makes rows the inputs of a product.
    pub(crate) fn fill(self, format: Format, rows: &Rows<'_>, count: usize, inputs: &mut Inputs) {
        dispatch!(self, fill(format, rows, count, inputs));
    }

    /// Normalises rows in place; they are `stride` apart.
    pub(crate) fn norm(self, norm: &Norm, x: &mut [f32], stride: usize) {
        dispatch!(self, norm(norm, x, stride));
    }

    /// Packs rows of heads that stand side by side.
    pub(crate) fn panels(self, rows: &[f32], heads: usize, size: usize) -> Panels {
        Panels::new(rows, heads, size, self.tile().1)
    }

    /// Computes the attention of every text to itself into rows of contexts.
    pub(crate) fn attend_all(
        self,
        team: Team<'_>,
        projections: &Projections<'_>,
        contexts: &mut [f32],
    ) {
        attention::attend_all(self, team, projections, contexts);
    }

    fn attend(self, heads: &Heads<'_>, group: usize, space: &mut Space, context: Sheet<'_>) {
        dispatch!(self, attend(heads, group, space, context));
    }
}

/// Multiplies and adds, with one rounding or with two.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
