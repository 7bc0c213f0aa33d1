//! Exponential, error function and the activations made of them, for arrays that the compiler turns into vectors.

use super::multiply_add;
use crate::plan::Activation;

/// Applies an activation to a row of registers.
#[inline(always)]
pub(super) fn activate<const FUSED: bool, const N: usize>(
    activation: Activation,
    x: &mut [f32; N],
) {
    match activation {
        Activation::Identity => {}
        // Not `max`, which would make a zero of what is no number.
        Activation::Relu => each(x, |x| if x < 0.0 { 0.0 } else { x }),
        Activation::Gelu => each(x, |x| {
            let half = 0.5 * x;
            let erf = erf::<FUSED>(x * std::f32::consts::FRAC_1_SQRT_2);
            multiply_add::<FUSED>(half, erf, half)
        }),
        Activation::GeluTanh => each(x, |x| {
            let cube = 0.044_715 * x * x * x;
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + cube);
            0.5 * x * (1.0 + tanh::<FUSED>(inner))
        }),
        Activation::Silu => each(x, |x| x * sigmoid::<FUSED>(x)),
        Activation::Tanh => each(x, tanh::<FUSED>),
        Activation::Sigmoid => each(x, sigmoid::<FUSED>),
    }
}

#[inline(always)]
fn each<const N: usize>(x: &mut [f32; N], f: impl Fn(f32) -> f32) {
    for i in 0..N {
        x[i] = f(x[i]);
    }
}

#[inline(always)]
fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

#[inline(always)]
fn tanh<const FUSED: bool>(x: f32) -> f32 {
    1.0 - 2.0 / (exp::<FUSED>(2.0 * x) + 1.0)
}

/// eˣ within 2 units in the last place; saturates below −87 and above 88, and leaves NaN as it is.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    /// 1.5·2²³: adding it leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, so that n·ln 2 is exact in the first (Cody and Waite).
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 88.0);
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FUSED>(-n, LN_2[0], x);
    let r = multiply_add::<FUSED>(-n, LN_2[1], r);
    // The Taylor series to r⁷, |r| ≤ ln 2 / 2: the rest is below 2⁻²⁷.
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = multiply_add::<FUSED>(p, r, c);
    }
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(power)
}

/// erf(x) within 4e-7, which leaves GELU within 1.5e-6: the rational approximation of degree 13 over 8 that Eigen
/// uses; ±1 beyond ±3.92.
#[inline(always)]
fn erf<const FUSED: bool>(x: f32) -> f32 {
    const P: [f32; 6] = [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const Q: [f32; 4] = [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let x = x.clamp(-3.92, 3.92);
    let z = x * x;
    let mut p = -2.726_142_3e-10;
    for c in P {
        p = multiply_add::<FUSED>(p, z, c);
    }
    let mut q = -1.456_607_2e-5;
    for c in Q {
        q = multiply_add::<FUSED>(q, z, c);
    }
    // The quotient passes 1 by 3e-7 near the ends, which a large x would multiply.
    (x * p / q).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_as_exact_as_they_say() {
        for i in -200_000..=200_000 {
            let x = f64::from(i) / 20_000.0;
            let got = f64::from(exp::<true>((x * 8.0) as f32));
            let want = f64::from((x * 8.0) as f32).exp();
            assert!((got / want - 1.0).abs() < 2.5e-7, "exp {x}: {got} {want}");
            let mut gelu = [x as f32];
            activate::<true, 1>(Activation::Gelu, &mut gelu);
            let want = 0.5 * x * (1.0 + reference_erf(x / 2f64.sqrt()));
            assert!((f64::from(gelu[0]) - want).abs() < 1.5e-6, "gelu {x}: {} {want}", gelu[0]);
            let got = f64::from(tanh::<true>(x as f32));
            assert!((got - x.tanh()).abs() < 3e-7, "tanh {x}: {got}");
        }
    }

    /// erf by its series, which f64 carries to |x| = 4; beyond, 1 is nearer than f32 can tell.
    fn reference_erf(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn infinities_and_nan_stay_visible() {
        assert_eq!(exp::<true>(f32::NEG_INFINITY), exp::<true>(-87.0));
        let mut row = [f32::NAN];
        activate::<true, 1>(Activation::Gelu, &mut row);
        assert!(row[0].is_nan());
    }
}
