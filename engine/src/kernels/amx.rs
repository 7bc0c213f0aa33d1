//! Products by a processor's matrix unit (Intel AMX), whose registers are tiles of 16 rows by 64 bytes.
//!
//! Weights lie as for the dot products of `x86.rs`: what those read step by step, a tile reads for 16 steps at once.

use std::{arch::asm, sync::LazyLock};

use super::{
    avx512,
    gemm::{Gemm, Product},
    packed::{Format, STEPS},
    tiles::Sums,
};

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Columns of two tiles, which are those of a panel.
const COLUMNS: usize = 32;
/// Bytes from one step of a panel to the next.
const LINE: usize = 4 * COLUMNS;

/// What the unit is told before its first use: palette 1, and of each of its 8 tiles the bytes of a row and the rows.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        row_bytes[tile] = 64;
        rows[tile] = ROWS as u8;
        tile += 1;
    }
    Configuration { palette: 1, start: 0, reserved: [0; 14], row_bytes, rows }
};

/// Says whether the processor has the unit, and the system lets this process use it.
pub(super) fn is_there() -> bool {
    static THERE: LazyLock<bool> = LazyLock::new(|| has_tiles() && is_allowed());
    *THERE
}

/// Says whether the processor multiplies tiles of bf16 and of 8-bit integers.
fn has_tiles() -> bool {
    const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    let last = std::arch::x86_64::__cpuid(0).eax;
    last >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & BF16_TILE_INT8 == BF16_TILE_INT8
}

/// Asks the system, which saves tiles only of processes that have asked.
#[cfg(target_os = "linux")]
fn is_allowed() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    #[expect(unsafe_code, reason = "a system call that no library names")]
    // SAFETY: it takes two numbers and touches no memory of ours.
    unsafe {
        libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn is_allowed() -> bool {
    false
}

/// Multiplies 16 or 32 rows by a panel; `$dot` is the instruction.
macro_rules! sums {
    ($name:ident, $dot:literal) => {
        /// # Safety
        ///
        /// The unit is configured; `x` points to the rows, each as many bytes from the next as the stride, and
        /// `panel` to the lines of a panel, for so many blocks of 16 steps; the second tile of rows is `second` bytes
        /// behind the first.
        #[expect(unsafe_code, reason = "instructions that only assembly names")]
        #[inline(always)]
        // SAFETY: the caller answers for it, as said above.
        unsafe fn $name(
            x: *const f32,
            (stride, second): (usize, usize),
            panel: *const u32,
            blocks: usize,
            sums: &mut Sums<{ 2 * ROWS }, COLUMNS>,
        ) {
            // SAFETY: reads what the caller promised, and writes 32 rows of 128 bytes, which `sums` has. No code of
            // the compiler uses tiles.
            unsafe {
                asm!(
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{x} + {stride}]",
                    "tileloadd tmm6, [{panel} + {line}]",
                    "tileloadd tmm7, [{panel} + {line} + 64]",
                    "tileloadd tmm5, [{y} + {stride}]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    concat!($dot, " tmm2, tmm5, tmm6"),
                    concat!($dot, " tmm3, tmm5, tmm7"),
                    "add {x}, 64",
                    "add {y}, 64",
                    "add {panel}, 2048",
                    "dec {blocks}",
                    "jnz 2b",
                    "tilestored [{sums} + {line}], tmm0",
                    "tilestored [{sums} + {line} + 64], tmm1",
                    "tilestored [{sums} + {line} + 2048], tmm2",
                    "tilestored [{sums} + {line} + 2112], tmm3",
                    x = inout(reg) x => _,
                    y = inout(reg) x.byte_add(second) => _,
                    stride = in(reg) stride,
                    panel = inout(reg) panel => _,
                    line = in(reg) LINE,
                    blocks = inout(reg) blocks => _,
                    sums = in(reg) sums.0.as_mut_ptr(),
                    options(nostack),
                );
            }
        }
    };
}
sums!(bf16_sums, "tdpbf16ps");
sums!(int8_sums, "tdpbusd");

/// Computes a product of pairs of bf16, or of integers in fours.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) fn run(gemm: &Gemm<'_>) {
    let Product { weights, inputs, rows, .. } = gemm.product;
    let (stride, steps) = (inputs.stride, weights.steps());
    let padded = rows.next_multiple_of(ROWS);
    assert!(is_there() && weights.width() == COLUMNS && steps > 0 && steps.is_multiple_of(STEPS));
    assert!(rows > 0 && inputs.lanes.len() >= (padded - 1) * stride + steps);
    let is_bf16 = weights.format() == Format::PairTiles;
    #[expect(unsafe_code, reason = "instructions that only assembly names")]
    // SAFETY: the unit is there, as just checked, and reads 64 bytes.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly));
    }
    let mut sums = Sums([[0.0; COLUMNS]; 2 * ROWS]);
    for panel in gemm.panels.clone() {
        let lines: &[u32] = weights.panel(panel);
        assert!(lines.len() >= steps * COLUMNS, "a panel is as long as it says");
        for row in (0..padded).step_by(2 * ROWS) {
            // The last rows may fill one tile alone: then both are the same.
            let second = if padded - row > ROWS { 4 * ROWS * stride } else { 0 };
            let x = inputs.lanes[row * stride..].as_ptr();
            let apart = (4 * stride, second);
            #[expect(unsafe_code, reason = "instructions that only assembly names")]
            // SAFETY: the unit was configured; rows and panel are as long as was checked.
            unsafe {
                if is_bf16 {
                    bf16_sums(x, apart, lines.as_ptr(), steps / STEPS, &mut sums);
                } else {
                    int8_sums(x, apart, lines.as_ptr(), steps / STEPS, &mut sums);
                }
            }
            let sums = &mut sums.0[..(rows - row).min(2 * ROWS)];
            if !is_bf16 {
                sums.iter_mut().flatten().for_each(|x| *x = x.to_bits().cast_signed() as f32);
            }
            avx512::finish(gemm, panel, row, sums);
        }
    }
    #[expect(unsafe_code, reason = "instructions that only assembly names")]
    // SAFETY: gives up tiles, whose values nobody needs any more.
    unsafe {
        asm!("tilerelease", options(nostack, nomem));
    }
}
