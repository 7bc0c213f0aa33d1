//! Exponential, error function and the activations made of them, for arrays that the compiler turns into vectors.

use super::{ROUND, multiply_add};
use crate::plan::Activation;

/// Writes the activation of every value, given its place. One loop over a slice for each: of a loop over an array the
/// compiler makes single numbers before it thinks of registers.
#[inline(always)]
pub(super) fn write<const FUSED: bool>(
    activation: Activation,
    places: &mut [f32],
    value: impl Fn(usize) -> f32,
) {
    match activation {
        Activation::Identity => each(places, |_, i| value(i)),
        // Not `max`, which would make a zero of what is no number.
        Activation::Relu => each(places, |_, i| if value(i) < 0.0 { 0.0 } else { value(i) }),
        Activation::Gelu => each(places, |_, i| gelu::<FUSED>(value(i))),
        Activation::GeluTanh => each(places, |_, i| gelu_tanh::<FUSED>(value(i))),
        Activation::QuickGelu => {
            each(places, |_, i| value(i) * sigmoid::<FUSED>(1.702 * value(i)));
        }
        Activation::Silu => each(places, |_, i| value(i) * sigmoid::<FUSED>(value(i))),
        Activation::Tanh => each(places, |_, i| tanh::<FUSED>(value(i))),
        Activation::Sigmoid => each(places, |_, i| sigmoid::<FUSED>(value(i))),
    }
}

/// Changes what stands at every place.
#[inline(always)]
pub(super) fn each(places: &mut [f32], change: impl Fn(f32, usize) -> f32) {
    for i in 0..places.len() {
        places[i] = change(places[i], i);
    }
}

#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> f32 {
    let half = 0.5 * x;
    multiply_add::<FUSED>(half, erf::<FUSED>(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

#[inline(always)]
fn gelu_tanh<const FUSED: bool>(x: f32) -> f32 {
    let cube = 0.044_715 * x * x * x;
    0.5 * x * (1.0 + tanh::<FUSED>((2.0 / std::f32::consts::PI).sqrt() * (x + cube)))
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
            let got = f64::from(gelu::<true>(x as f32));
            let want = 0.5 * x * (1.0 + reference_erf(x / 2f64.sqrt()));
            assert!((got - want).abs() < 1.5e-6, "gelu {x}: {got} {want}");
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
        let mut row = [0.0];
        write::<true>(Activation::Relu, &mut row, |_| f32::NAN);
        assert!(row[0].is_nan() && gelu::<true>(f32::NAN).is_nan());
    }
}
