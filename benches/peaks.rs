//! What can this machine do at most? Multiply-adds of each kind per second, and bytes read from memory per second,
//! measured with nothing but the instructions themselves.

use std::{hint::black_box, time::Instant};

/// Sums kept apart, so that no instruction waits for the one before it.
const CHAINS: usize = 12;
/// Rounds between two looks at the clock.
const ROUNDS: usize = 4_000_000;

/// Operations per second of one thread; a multiply-add counts as two. `None` where the processor has no such
/// instruction.
pub(crate) struct Peaks {
    pub(crate) f32: f64,
    pub(crate) bf16: Option<f64>,
    pub(crate) int8: Option<f64>,
}

/// Returns the best of a few runs on as many threads at once.
pub(crate) fn measure(threads: usize) -> Peaks {
    let best = |run: fn() -> Option<f64>| {
        (0..5)
            .filter_map(|_| together(threads, run))
            .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))))
    };
    Peaks { f32: best(f32).unwrap_or(f64::NAN), bf16: best(bf16), int8: best(int8) }
}

/// Returns the sum of what so many threads reach beside one another.
fn together(threads: usize, run: fn() -> Option<f64>) -> Option<f64> {
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().ok().flatten()).sum()
    })
}

/// Returns the bytes per second that threads read together, each from a piece of memory that no cache holds.
pub(crate) fn memory(threads: usize) -> f64 {
    const WORDS: usize = 32 << 20;
    let data: Vec<Vec<u64>> = (0..threads).map(|i| vec![i as u64 + 1; WORDS]).collect();
    let pass =
        |part: &[u64]| black_box(part.iter().fold(0u64, |sum, word| sum.wrapping_add(*word)));
    let rate = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for part in &data {
                scope.spawn(move || pass(part));
            }
        });
        (8 * WORDS * threads) as f64 / started.elapsed().as_secs_f64()
    };
    (0..3).map(|_| rate()).fold(0.0, f64::max)
}

/// Returns the rate of `round`, which does so many operations on each chain.
#[inline(always)]
fn time<T: Copy>(zero: T, operations: usize, round: impl Fn(&mut T)) -> f64 {
    let mut chains = [zero; CHAINS];
    let started = Instant::now();
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            round(chain);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let _kept = black_box(chains);
    (ROUNDS * CHAINS * operations) as f64 / seconds
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{black_box, time};

    #[target_feature(enable = "avx512f")]
    pub(super) fn f32_512() -> f64 {
        let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        time(_mm512_setzero_ps(), 32, |sum| *sum = _mm512_fmadd_ps(a, b, *sum))
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn f32_256() -> f64 {
        let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
        time(_mm256_setzero_ps(), 16, |sum| *sum = _mm256_fmadd_ps(a, b, *sum))
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn bf16_512() -> f64 {
        let a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.5)));
        time(_mm512_setzero_ps(), 64, |sum| *sum = _mm512_dpbf16_ps(*sum, a, a))
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn int8_512() -> f64 {
        let a = _mm512_set1_epi8(black_box(1));
        time(_mm512_setzero_si512(), 128, |sum| *sum = _mm512_dpbusd_epi32(*sum, a, a))
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn int8_256() -> f64 {
        let a = _mm256_set1_epi8(black_box(1));
        time(_mm256_setzero_si256(), 64, |sum| *sum = _mm256_dpbusd_avx_epi32(*sum, a, a))
    }

    /// Counts what the matrix unit does: four sums of 16 by 16, each of as many products as a row of 64 bytes has.
    macro_rules! tiles {
        ($name:ident, $dot:literal, $products:literal) => {
            pub(super) fn $name() -> f64 {
                // Palette 1, and eight tiles of 16 rows of 64 bytes.
                let mut configuration = [0u8; 64];
                configuration[0] = 1;
                for tile in 0..8 {
                    configuration[16 + 2 * tile] = 64;
                    configuration[48 + tile] = 16;
                }
                let started = std::time::Instant::now();
                #[expect(unsafe_code, reason = "instructions that only assembly names")]
                // SAFETY: called only where the engine has found the unit; reads the 64 bytes, and uses tiles alone.
                unsafe {
                    std::arch::asm!(
                        "ldtilecfg [{configuration}]",
                        "2:",
                        concat!($dot, " tmm0, tmm4, tmm6"),
                        concat!($dot, " tmm1, tmm4, tmm7"),
                        concat!($dot, " tmm2, tmm5, tmm6"),
                        concat!($dot, " tmm3, tmm5, tmm7"),
                        "dec {rounds}",
                        "jnz 2b",
                        "tilerelease",
                        configuration = in(reg) configuration.as_ptr(),
                        rounds = inout(reg) super::ROUNDS => _,
                        options(nostack),
                    );
                }
                (4 * super::ROUNDS * 2 * 16 * 16 * $products) as f64 / started.elapsed().as_secs_f64()
            }
        };
    }
    tiles!(bf16_tiles, "tdpbf16ps", 32);
    tiles!(int8_tiles, "tdpbusd", 64);

    #[target_feature(enable = "avx2")]
    pub(super) fn int16_256() -> f64 {
        let a = _mm256_set1_epi16(black_box(1));
        time(_mm256_setzero_si256(), 32, |sum| {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*sum, a));
        })
    }
}

/// Says whether the instruction set that is measured has a matrix unit.
#[cfg(target_arch = "x86_64")]
fn has_tiles() -> bool {
    super::isa().name() == "amx"
}

/// Calls an instance whose features were found.
macro_rules! detected {
    ($function:path, $($feature:tt),*) => {
        if $(is_x86_feature_detected!($feature))&&* {
            #[expect(unsafe_code, reason = "runs code compiled for detected features")]
            // SAFETY: the processor has the features, as just found.
            return Some(unsafe { $function() });
        }
    };
}

fn f32() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        detected!(x86::f32_512, "avx512f");
        detected!(x86::f32_256, "avx2", "fma");
    }
    Some(time(0.0f32, 2, |sum| *sum += black_box(0.5) * black_box(0.25)))
}

fn bf16() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if has_tiles() {
        return Some(x86::bf16_tiles());
    }
    #[cfg(target_arch = "x86_64")]
    detected!(x86::bf16_512, "avx512f", "avx512bf16");
    None
}

fn int8() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        if has_tiles() {
            return Some(x86::int8_tiles());
        }
        detected!(x86::int8_512, "avx512f", "avx512vnni");
        detected!(x86::int8_256, "avxvnni");
        detected!(x86::int16_256, "avx2");
    }
    None
}
