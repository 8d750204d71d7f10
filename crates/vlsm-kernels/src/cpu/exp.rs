//! The exponential, without branches, so that loops over it vectorise.

use super::isa::Isa;

/// `a * b + c`, rounded once if there is an instruction for it.
#[inline(always)]
pub(crate) fn multiply_add<I: Isa>(a: f32, b: f32, c: f32) -> f32 {
    if I::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to about one ulp: the argument is split into a power of two and a remainder, whose exponential is a
/// polynomial. 0 below -87.
#[inline(always)]
pub(crate) fn exp<I: Isa>(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let small = x < -87.0;
    let x = x.clamp(-87.0, 88.0);
    let rounded = multiply_add::<I>(x, std::f32::consts::LOG2_E, ROUND);
    let power = rounded - ROUND;
    let rest = multiply_add::<I>(power, -LN_2_HIGH, x);
    let rest = multiply_add::<I>(power, -LN_2_LOW, rest);
    // Taylor series, exact to 5e-9 this close to 0.
    let mut series = 1.0 / 5_040.0;
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0] {
        series = multiply_add::<I>(series, rest, 1.0 / factorial);
    }
    let fraction = multiply_add::<I>(series * rest, rest, rest) + 1.0;
    // The low bits of `rounded` hold the integer: this avoids a conversion, which would check for overflow.
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    let value = fraction * f32::from_bits(exponent.wrapping_add(127) << 23);
    if small { 0.0 } else { value }
}

/// `e^x` to 3e-10, for `x` from -150 (below which f32 has only 0) to 150, computed like [`exp`].
#[inline(always)]
pub(crate) fn exp_wide<I: Isa>(x: f32) -> f64 {
    // 1.5 * 2^52
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let multiply_add = |a: f64, b: f64, c: f64| if I::FMA { a.mul_add(b, c) } else { a * b + c };
    let x = f64::from(x.clamp(-150.0, 150.0));
    let rounded = multiply_add(x, std::f64::consts::LOG2_E, ROUND);
    let power = rounded - ROUND;
    let rest = multiply_add(power, -std::f64::consts::LN_2, x);
    let mut series = 1.0 / 40_320.0;
    for factorial in [5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        series = multiply_add(series, rest, 1.0 / factorial);
    }
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    series * f64::from_bits(exponent.wrapping_add(1023) << 52)
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Fused, Portable};
    use super::*;

    #[test]
    fn close_everywhere() {
        for step in -8_699..=8_800 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            for value in [exp::<Fused>(x), exp::<Portable>(x)] {
                let error = (f64::from(value) / expected - 1.0).abs();
                assert!(error < 1.2e-7, "exp({x}): {error}");
            }
        }
        for step in -1_500..=1_500 {
            let x = step as f32 / 10.0;
            let expected = f64::from(x).exp();
            for value in [exp_wide::<Fused>(x), exp_wide::<Portable>(x)] {
                let error = (value / expected - 1.0).abs();
                assert!(error < 3e-10, "exp_wide({x}): {error}");
            }
        }
        assert_eq!(exp::<Portable>(f32::NEG_INFINITY), 0.0);
    }
}
