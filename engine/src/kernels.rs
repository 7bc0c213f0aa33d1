//! Which arithmetic runs on this processor: one generic source per kernel, one instance per instruction set.
//!
//! Kernels are plain Rust over arrays; compiled with an instruction set enabled they reach its peak without
//! intrinsics. A text's numbers never depend on what is computed beside it: every sum runs in one order, whatever
//! the number of rows, texts or threads.

mod attention;
mod gemm;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use attention::Heads;
pub(crate) use gemm::{Epilogue, Gemm, Packed, Part};
pub(crate) use rows::Norm;

/// An instruction set that this processor has; only [`Isa::all`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

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
        match $isa.0 {
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

/// Compiles every kernel once more: `$m` rows by `$n` columns in registers, multiply-add fused or not.
macro_rules! instance {
    ($set:ident, $fused:literal, $m:literal x $n:literal, $(#[$attribute:meta])*) => {
        mod $set {
            use super::*;

            $(#[$attribute])*
            pub(super) fn gemm(gemm: &Gemm<'_>, part: &Part, y: &mut [f32]) {
                gemm::run::<$fused, $m, $n>(gemm, part, y);
            }

            $(#[$attribute])*
            pub(super) fn norm(norm: &Norm, x: &mut [f32]) {
                rows::norm::<$fused>(norm, x);
            }

            $(#[$attribute])*
            pub(super) fn attend(heads: &Heads<'_>, head: usize) -> Vec<f32> {
                attention::run::<$fused, $m, $n>(heads, head)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instance!(avx512, true, 12 x 32, #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]);
#[cfg(target_arch = "x86_64")]
instance!(avx2, true, 6 x 16, #[target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "aarch64")]
instance!(neon, true, 8 x 12,);
// Without a fused instruction a fused multiply-add is a call into the C library.
instance!(portable, false, 4 x 8,);

impl Isa {
    /// Returns every set of this processor, the best first.
    pub(crate) fn all() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wide = narrow
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            sets.extend(wide.then_some(Self(Set::Avx512)));
            sets.extend(narrow.then_some(Self(Set::Avx2)));
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Self(Set::Neon));
        sets.push(Self(Set::Portable));
        sets
    }

    /// Returns the best set of this processor.
    pub(crate) fn best() -> Self {
        Self::all()[0]
    }

    /// Returns how many columns of weights stand side by side in a panel.
    pub(crate) fn panel_width(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => 32,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => 16,
            #[cfg(target_arch = "aarch64")]
            Set::Neon => 12,
            Set::Portable => 8,
        }
    }

    /// Computes a part of a product.
    pub(crate) fn gemm(self, gemm: &Gemm<'_>, part: &Part, y: &mut [f32]) {
        assert_eq!(gemm.weights.width, self.panel_width(), "weights are packed for this set");
        dispatch!(self, gemm(gemm, part, y));
    }

    /// Normalises rows in place.
    pub(crate) fn norm(self, norm: &Norm, x: &mut [f32]) {
        dispatch!(self, norm(norm, x));
    }

    /// Computes one head of the attention of one text, `[length, size]`.
    pub(crate) fn attend(self, heads: &Heads<'_>, head: usize) -> Vec<f32> {
        dispatch!(self, attend(heads, head))
    }
}

/// Multiplies and adds, with one rounding or with two.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
