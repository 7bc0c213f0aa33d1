//! Tiles for instructions that the compiler does not find by itself: dot products of bf16 and of integers.

use std::arch::x86_64::*;

use super::tiles::{AHEAD, Block, Sums, Tile, check, prefetch};

macro_rules! dot_tile {
    (
        $(#[$doc:meta])*
        $name:ident, $element:ty, $lanes:literal, $sum:ty,
        zero: $zero:expr, load: |$place:ident| $load:expr, spread: |$bits:ident| $spread:expr,
        dot: |$s:ident, $x:ident, $w:ident| $dot:expr, floats: |$end:ident| $floats:expr
    ) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl Tile for $name {
            type Element = $element;

            #[inline(always)]
            fn sums<const M: usize, const N: usize>(
                x: &[f32],
                stride: usize,
                panel: &[$element],
                line: usize,
                steps: usize,
            ) -> Sums<M, N> {
                const { assert!(N == 2 * $lanes, "a panel is two registers wide") };
                check::<M, N, _>(x, stride, panel, line, steps);
                let mut out = Sums([[0.0; N]; M]);
                #[expect(unsafe_code, reason = "instructions that only intrinsics name")]
                // SAFETY: this form is chosen only where the processor has its instructions. Every place read lies
                // below the lengths that were checked: i < steps, row < M, and two registers are N elements. `out`
                // has N floats in a row, as the two registers written there.
                unsafe {
                    let mut sums = [[$zero; 2]; M];
                    for i in 0..steps {
                        let $place = panel.as_ptr().add(i * line);
                        let first = $load;
                        let $place = panel.as_ptr().add(i * line + $lanes);
                        let second = $load;
                        prefetch(panel, (i + AHEAD) * line);
                        if N * size_of::<$element>() > 64 {
                            prefetch(panel, (i + AHEAD) * line + $lanes);
                        }
                        for row in 0..M {
                            let $bits = x.get_unchecked(row * stride + i).to_bits().cast_signed();
                            let $x = $spread;
                            let ($s, $w) = (sums[row][0], first);
                            sums[row][0] = $dot;
                            let ($s, $w) = (sums[row][1], second);
                            sums[row][1] = $dot;
                        }
                    }
                    for row in 0..M {
                        let place = out.0[row].as_mut_ptr();
                        let $end = sums[row][0];
                        std::ptr::write_unaligned(place.cast(), $floats);
                        let $end = sums[row][1];
                        std::ptr::write_unaligned(place.add($lanes).cast(), $floats);
                    }
                }
                out
            }
        }
    };
}

dot_tile!(
    /// AVX-512 BF16.
    Pairs512, u32, 16, __m512,
    zero: _mm512_setzero_ps(), load: |place| _mm512_loadu_si512(place.cast()),
    spread: |bits| _mm512_set1_epi32(bits),
    dot: |sum, x, w| _mm512_dpbf16_ps(
        sum, std::mem::transmute::<__m512i, __m512bh>(x), std::mem::transmute::<__m512i, __m512bh>(w)
    ),
    floats: |sum| sum
);
dot_tile!(
    /// AVX-512 VNNI.
    Bytes512, u32, 16, __m512i,
    zero: _mm512_setzero_si512(), load: |place| _mm512_loadu_si512(place.cast()),
    spread: |bits| _mm512_set1_epi32(bits),
    dot: |sum, x, w| _mm512_dpbusd_epi32(sum, x, w), floats: |sum| _mm512_cvtepi32_ps(sum)
);
dot_tile!(
    /// AVX-512 without VNNI.
    Words512, u16, 16, __m512i,
    zero: _mm512_setzero_si512(), load: |place| _mm512_cvtepi8_epi16(_mm256_loadu_si256(place.cast())),
    spread: |bits| _mm512_set1_epi32(bits),
    dot: |sum, x, w| _mm512_add_epi32(sum, _mm512_madd_epi16(x, w)), floats: |sum| _mm512_cvtepi32_ps(sum)
);
dot_tile!(
    /// AVX-VNNI.
    Bytes256, u32, 8, __m256i,
    zero: _mm256_setzero_si256(), load: |place| _mm256_loadu_si256(place.cast()),
    spread: |bits| _mm256_set1_epi32(bits),
    dot: |sum, x, w| _mm256_dpbusd_avx_epi32(sum, x, w), floats: |sum| _mm256_cvtepi32_ps(sum)
);
dot_tile!(
    /// AVX2 without VNNI.
    Words256, u16, 8, __m256i,
    zero: _mm256_setzero_si256(), load: |place| _mm256_cvtepi8_epi16(_mm_loadu_si128(place.cast())),
    spread: |bits| _mm256_set1_epi32(bits),
    dot: |sum, x, w| _mm256_add_epi32(sum, _mm256_madd_epi16(x, w)), floats: |sum| _mm256_cvtepi32_ps(sum)
);

/// Eight rows in eight registers, by three rounds of exchanges between neighbours, pairs and halves.
pub(super) struct Block256;

impl Block for Block256 {
    const SIDE: usize = 8;

    #[inline(always)]
    fn transpose(from: &[f32], stride: usize, to: &mut [f32], line: usize) {
        assert!(from.len() >= 7 * stride + 8 && to.len() >= 7 * line + 8, "a block lies inside");
        #[expect(unsafe_code, reason = "instructions that only intrinsics name")]
        // SAFETY: this form is chosen only where the processor has AVX2. Every place lies below the lengths that
        // were checked.
        unsafe {
            let row = |i: usize| _mm256_loadu_ps(from.as_ptr().add(i * stride));
            let rows = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
            let mut pairs = rows;
            for i in 0..4 {
                pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
            }
            let mut fours = pairs;
            for i in 0..2 {
                let [a, b, c, d] =
                    [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
                fours[4 * i] = _mm256_shuffle_ps::<0x44>(a, c);
                fours[4 * i + 1] = _mm256_shuffle_ps::<0xee>(a, c);
                fours[4 * i + 2] = _mm256_shuffle_ps::<0x44>(b, d);
                fours[4 * i + 3] = _mm256_shuffle_ps::<0xee>(b, d);
            }
            for i in 0..4 {
                let low = _mm256_permute2f128_ps::<0x20>(fours[i], fours[4 + i]);
                let high = _mm256_permute2f128_ps::<0x31>(fours[i], fours[4 + i]);
                _mm256_storeu_ps(to.as_mut_ptr().add(i * line), low);
                _mm256_storeu_ps(to.as_mut_ptr().add((4 + i) * line), high);
            }
        }
    }
}
