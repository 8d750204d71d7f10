//! Activation functions and their derivatives (slopes).

use super::exp::{exp, multiply_add};
use super::isa::{Isa, dispatch};
use crate::ops::{Activation, QUICK_GELU_SLOPE};

impl Activation {
    /// Replaces inputs by outputs.
    pub(super) fn forward(self, values: &mut [f32]) {
        match self {
            Self::QuickGelu => quick_gelu(values),
            Self::Gelu => gelu(values),
            Self::GeluTanh => gelu_tanh(values),
            Self::Relu => relu(values),
        }
    }

    /// As [`forward`](Self::forward), and saves the slopes at the inputs.
    pub(super) fn forward_and_slope(self, values: &mut [f32], slopes: &mut [u16]) {
        match self {
            Self::QuickGelu => quick_gelu_and_slope(values, slopes),
            Self::Gelu => gelu_and_slope(values, slopes),
            Self::GeluTanh => gelu_tanh_and_slope(values, slopes),
            Self::Relu => relu_and_slope(values, slopes),
        }
    }
}

/// A slope is saved as a whole number of these steps from -1/2 (the slopes of GELU and quick-GELU are between -0.2 and 1.2): to
/// 1.6e-5, with half the memory of the activation's input.
const SLOPE_STEP: f32 = 1.0 / 32_768.0;
/// The number of steps of slope 0.
const SLOPE_ZERO: f32 = 16_384.0;

/// Encodes a slope for saving.
#[inline(always)]
fn quantised(slope: f32) -> u16 {
    // Adding 2^23 rounds to the nearest integer and leaves it in the low bits; a conversion would check for overflow.
    const ROUND: f32 = 8_388_608.0;
    (slope / SLOPE_STEP + SLOPE_ZERO + ROUND).to_bits() as u16
}

/// Decodes a saved slope.
#[inline(always)]
pub(super) fn dequantised(slope: u16) -> f32 {
    (f32::from(slope) - SLOPE_ZERO) * SLOPE_STEP
}

/// The upper half of a saved slope, rounded.
#[inline(always)]
pub(super) fn coarsened(slope: u16) -> u8 {
    (slope.saturating_add(128) >> 8) as u8
}

/// A slope from its upper half.
#[inline(always)]
pub(super) fn fine(coarse: u8) -> u16 {
    u16::from(coarse) << 8
}

pub(super) fn relu(values: &mut [f32]) {
    for x in values {
        // NaN stays NaN, so that a diverging training is noticed.
        *x = if *x < 0.0 { 0.0 } else { *x };
    }
}

fn relu_and_slope(values: &mut [f32], slopes: &mut [u16]) {
    for (x, slope) in values.iter().zip(slopes) {
        *slope = quantised(if *x > 0.0 { 1.0 } else { 0.0 });
    }
    relu(values);
}

dispatch! { fn quick_gelu(values: &mut [f32]) = quick_gelu_body; }

#[inline(always)]
fn quick_gelu_body<I: Isa>(values: &mut [f32]) {
    for x in values {
        *x /= 1.0 + exp::<I>(-QUICK_GELU_SLOPE * *x);
    }
}

dispatch! { fn quick_gelu_and_slope(values: &mut [f32], slopes: &mut [u16]) = quick_gelu_and_slope_body; }

#[inline(always)]
fn quick_gelu_and_slope_body<I: Isa>(values: &mut [f32], slopes: &mut [u16]) {
    for (x, slope) in values.iter_mut().zip(slopes) {
        let scaled = QUICK_GELU_SLOPE * *x;
        let rate = 1.0 + exp::<I>(-scaled);
        let gate = 1.0 / rate;
        *slope = quantised(gate * (1.0 + scaled * (1.0 - gate)));
        // The same bits as in `quick_gelu`.
        *x /= rate;
    }
}

/// The normal distribution function and density at `x`, to 1e-7: by approximation 7.1.26 of the error function in Abramowitz and
/// Stegun (1964).
#[inline(always)]
fn normal<I: Isa>(x: f32) -> [f32; 2] {
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let mut series = 1.061_405_4;
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        series = multiply_add::<I>(series, t, coefficient);
    }
    let gauss = exp::<I>(-0.5 * x * x);
    let tail = 0.5 * series * t * gauss;
    // 1 / sqrt(2 pi)
    const SCALE: f32 = 0.398_942_3;
    [if x < 0.0 { tail } else { 1.0 - tail }, SCALE * gauss]
}

dispatch! { fn gelu(values: &mut [f32]) = gelu_body; }

#[inline(always)]
fn gelu_body<I: Isa>(values: &mut [f32]) {
    for x in values {
        let [below, _] = normal::<I>(*x);
        *x *= below;
    }
}

dispatch! { fn gelu_and_slope(values: &mut [f32], slopes: &mut [u16]) = gelu_and_slope_body; }

#[inline(always)]
fn gelu_and_slope_body<I: Isa>(values: &mut [f32], slopes: &mut [u16]) {
    for (x, slope) in values.iter_mut().zip(slopes) {
        let [below, density] = normal::<I>(*x);
        *slope = quantised(below + *x * density);
        *x *= below;
    }
}

/// `sigmoid(2 u)` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, which is `(1 + tanh(u)) / 2`, and the derivative of `2 u`.
#[inline(always)]
fn by_tanh<I: Isa>(x: f32) -> [f32; 2] {
    // 2 sqrt(2 / pi)
    const SCALE: f32 = 1.595_769;
    const CUBE: f32 = 0.044_715;
    let square = x * x;
    let gate = 1.0 / (1.0 + exp::<I>(-SCALE * x * multiply_add::<I>(CUBE, square, 1.0)));
    [gate, SCALE * multiply_add::<I>(3.0 * CUBE, square, 1.0)]
}

dispatch! { fn gelu_tanh(values: &mut [f32]) = gelu_tanh_body; }

#[inline(always)]
fn gelu_tanh_body<I: Isa>(values: &mut [f32]) {
    for x in values {
        let [gate, _] = by_tanh::<I>(*x);
        *x *= gate;
    }
}

dispatch! { fn gelu_tanh_and_slope(values: &mut [f32], slopes: &mut [u16]) = gelu_tanh_and_slope_body; }

#[inline(always)]
fn gelu_tanh_and_slope_body<I: Isa>(values: &mut [f32], slopes: &mut [u16]) {
    for (x, slope) in values.iter_mut().zip(slopes) {
        let [gate, steepness] = by_tanh::<I>(*x);
        *slope = quantised(gate + *x * gate * (1.0 - gate) * steepness);
        *x *= gate;
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Fused, Portable};
    use super::*;

    /// Reference values from Python's `math.erfc` and `math.exp`, in f64.
    #[test]
    fn normal_distribution() {
        for (x, below, density) in [
            (-6.0, 9.865_876_450_377_012e-10, 6.075_882_849_823_286e-9),
            (-1.5, 0.066_807_201_268_858_07, 0.129_517_595_665_891_74),
            (0.0, 0.5, 0.398_942_280_401_432_7),
            (0.3, 0.617_911_422_188_952_7, 0.381_387_815_460_524_1),
            (2.0, 0.977_249_868_051_820_8, 0.053_990_966_513_188_06),
        ] {
            for values in [normal::<Fused>(x), normal::<Portable>(x)] {
                for (value, expected) in values.into_iter().zip([below, density]) {
                    let error: f64 = f64::from(value) - expected;
                    assert!(error.abs() < 1.5e-7, "{value} for {expected} at {x}");
                }
            }
        }
        assert!(normal::<Fused>(f32::NAN)[0].is_nan());
    }

    #[test]
    fn slopes_are_saved_to_a_step() {
        for step in -4_000..=40_000 {
            let slope = step as f32 / 32_000.0;
            let saved = dequantised(quantised(slope));
            assert!(
                (saved - slope).abs() <= 0.6 * SLOPE_STEP,
                "{saved} for {slope}"
            );
        }
        for exact in [0.0, 1.0] {
            assert_eq!(dequantised(quantised(exact)), exact);
            assert_eq!(dequantised(fine(coarsened(quantised(exact)))), exact);
        }
        for step in -20..=120 {
            let slope = step as f32 / 100.0;
            let saved = dequantised(fine(coarsened(quantised(slope))));
            assert!((saved - slope).abs() <= 0.6 / 128.0, "{saved} for {slope}");
        }
    }
}
