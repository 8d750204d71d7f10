//! The MLP: expansion, activation, contraction.

use multiversion::multiversion;
use multiversion::target::selected_target;

use super::exp::{exp, fuses, multiply_add};
use super::gradient;
use super::panels::{LANES, Panels, zeros};
use super::product::{BLOCK, Linear, Product};
use super::sublayer::{Core, Keep, Wanted, Work};
use crate::Activation;
use crate::compose::SLOPE;

/// An MLP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mlp<'a> {
    pub(crate) expand: Linear<'a>,
    pub(crate) contract: Linear<'a>,
    /// Between expansion and contraction.
    pub(crate) activation: Activation,
}

impl Activation {
    fn forward(self, values: &mut [f32]) {
        match self {
            Self::QuickGelu => quick_gelu(values),
            Self::Gelu => gelu(values),
            Self::GeluTanh => gelu_tanh(values),
            Self::Relu => relu(values),
        }
    }

    /// As [`forward`](Self::forward), and the slopes at the inputs.
    fn forward_and_slope(self, values: &mut [f32], slopes: &mut [u16]) {
        match self {
            Self::QuickGelu => quick_gelu_and_slope(values, slopes),
            Self::Gelu => gelu_and_slope(values, slopes),
            Self::GeluTanh => gelu_tanh_and_slope(values, slopes),
            Self::Relu => relu_and_slope(values, slopes),
        }
    }
}

/// A slope is kept as a whole number of these steps, from -1/2 (those of GELU and quick-GELU lie between -0.2 and 1.2): to 1.6e-5, at half
/// the memory of the activation's input.
const SLOPE_STEP: f32 = 1.0 / 32_768.0;
/// What stands for 0.
const SLOPE_ZERO: f32 = 16_384.0;

/// A slope as it is kept.
#[inline(always)]
fn quantised(slope: f32) -> u16 {
    // Adding 2^23 rounds to the nearest integer, which then stands in the last bits; a conversion would check for overflow.
    const ROUND: f32 = 8_388_608.0;
    (slope / SLOPE_STEP + SLOPE_ZERO + ROUND).to_bits() as u16
}

/// The [slopes](quantised) of an activation, as the hidden units lie; none where they are not kept.
#[derive(Debug)]
pub(super) struct Slopes(Vec<[u16; LANES]>);

impl Linear<'_> {
    /// The hidden units of the layer's outputs, and their slopes if `keep` says so.
    pub(super) fn activated(
        &self,
        x: &Panels,
        activation: Activation,
        threads: usize,
        keep: bool,
    ) -> (Panels, Slopes) {
        let mut slopes = Vec::new();
        let expansion = Product {
            terms: &[(self.weights, x)],
            bias: Some(self.bias),
            block: BLOCK,
            threads,
        };
        let hidden = if keep {
            slopes = zeros(self.weights.outputs * x.count);
            expansion.run_beside(Some(&mut slopes), |_, part, slopes| {
                let slopes = slopes.unwrap_or_default().as_flattened_mut();
                activation.forward_and_slope(part, slopes);
            })
        } else {
            expansion.run(|_, part| activation.forward(part))
        };
        (hidden, Slopes(slopes))
    }

    /// The gradient at the inputs of the hidden units that this layer contracts, given that at its outputs.
    pub(super) fn activated_backward(
        &self,
        grad: &Panels,
        slopes: &Slopes,
        threads: usize,
    ) -> Panels {
        let count = grad.count;
        Product {
            terms: &[(self.weights.transposed(), grad)],
            bias: None,
            block: BLOCK,
            threads,
        }
        .run(|place, part| {
            let start = place.block * BLOCK * count + place.panel * part.len() / LANES;
            let slopes = slopes.0[start..].as_flattened();
            for (grad, slope) in part.iter_mut().zip(slopes) {
                *grad *= (f32::from(*slope) - SLOPE_ZERO) * SLOPE_STEP;
            }
        })
    }
}

/// What the backward pass needs of the forward pass, besides the input.
#[derive(Debug)]
pub(crate) struct MlpKept {
    slopes: Slopes,
    /// The hidden units, where the contraction is trained.
    hidden: Option<Panels>,
}

impl Core for Mlp<'_> {
    type Kept = MlpKept;

    const TOKENS_ALONE: bool = true;

    fn forward(&self, x: Panels, work: Work, keep: Keep) -> (Panels, MlpKept) {
        let threads = work.threads;
        let (hidden, slopes) =
            (self.expand).activated(&x, self.activation, threads, keep.anything());
        drop(x);
        let output = Product {
            terms: &[(self.contract.weights, &hidden)],
            bias: Some(self.contract.bias),
            block: BLOCK,
            threads: work.threads,
        }
        .run(|_, _| {});
        let hidden = keep.input_of(1).then_some(hidden);
        (output, MlpKept { slopes, hidden })
    }

    fn backward(
        &self,
        x: impl Fn() -> Panels,
        kept: &MlpKept,
        grad: Panels,
        work: Work,
        wanted: Wanted,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let threads = work.threads;
        let hidden_grad = (self.contract).activated_backward(&grad, &kept.slopes, threads);
        let mut at_parameters = Vec::new();
        if wanted.parameters() {
            let x = x();
            at_parameters.extend(gradient::layer(&x, &hidden_grad, wanted.layers[0]));
            let again;
            let hidden = match &kept.hidden {
                None if wanted.layers[1] => {
                    (again, _) = (self.expand).activated(&x, self.activation, threads, false);
                    &again
                }
                None => &x,
                Some(hidden) => hidden,
            };
            at_parameters.extend(gradient::layer(hidden, &grad, wanted.layers[1]));
        }
        drop(grad);
        let at_input = wanted.core_input().then(|| {
            Product {
                terms: &[(self.expand.weights.transposed(), &hidden_grad)],
                bias: None,
                block: BLOCK,
                threads: work.threads,
            }
            .run(|_, _| {})
        });
        (at_input, at_parameters)
    }
}

pub(super) fn relu(values: &mut [f32]) {
    for x in values {
        // What is not a number stays so, that a training that diverges is noticed.
        *x = if *x < 0.0 { 0.0 } else { *x };
    }
}

fn relu_and_slope(values: &mut [f32], slopes: &mut [u16]) {
    for (x, slope) in values.iter().zip(slopes) {
        *slope = quantised(if *x > 0.0 { 1.0 } else { 0.0 });
    }
    relu(values);
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn quick_gelu(values: &mut [f32]) {
    const FMA: bool = fuses(selected_target!());
    for x in values {
        *x /= 1.0 + exp::<FMA>(-SLOPE * *x);
    }
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn quick_gelu_and_slope(values: &mut [f32], slopes: &mut [u16]) {
    const FMA: bool = fuses(selected_target!());
    for (x, slope) in values.iter_mut().zip(slopes) {
        let scaled = SLOPE * *x;
        let rate = 1.0 + exp::<FMA>(-scaled);
        let gate = 1.0 / rate;
        *slope = quantised(gate * (1.0 + scaled * (1.0 - gate)));
        // As in `quick_gelu`, to the last bit.
        *x /= rate;
    }
}

/// The normal distribution up to `x` and its density there, to 1e-7: by the error function's approximation 7.1.26 of Abramowitz
/// and Stegun (1964).
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> [f32; 2] {
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let mut series = 1.061_405_4;
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        series = multiply_add::<FMA>(series, t, coefficient);
    }
    let gauss = exp::<FMA>(-0.5 * x * x);
    let tail = 0.5 * series * t * gauss;
    // 1 / sqrt(2 pi)
    const SCALE: f32 = 0.398_942_3;
    [if x < 0.0 { tail } else { 1.0 - tail }, SCALE * gauss]
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn gelu(values: &mut [f32]) {
    const FMA: bool = fuses(selected_target!());
    for x in values {
        let [below, _] = normal::<FMA>(*x);
        *x *= below;
    }
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn gelu_and_slope(values: &mut [f32], slopes: &mut [u16]) {
    const FMA: bool = fuses(selected_target!());
    for (x, slope) in values.iter_mut().zip(slopes) {
        let [below, density] = normal::<FMA>(*x);
        *slope = quantised(below + *x * density);
        *x *= below;
    }
}

/// `sigmoid(2 u)` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, which is `(1 + tanh(u)) / 2`, and the slope of `2 u`.
#[inline(always)]
fn by_tanh<const FMA: bool>(x: f32) -> [f32; 2] {
    // 2 sqrt(2 / pi)
    const SCALE: f32 = 1.595_769;
    const CUBE: f32 = 0.044_715;
    let square = x * x;
    let gate = 1.0 / (1.0 + exp::<FMA>(-SCALE * x * multiply_add::<FMA>(CUBE, square, 1.0)));
    [gate, SCALE * multiply_add::<FMA>(3.0 * CUBE, square, 1.0)]
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn gelu_tanh(values: &mut [f32]) {
    const FMA: bool = fuses(selected_target!());
    for x in values {
        let [gate, _] = by_tanh::<FMA>(*x);
        *x *= gate;
    }
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn gelu_tanh_and_slope(values: &mut [f32], slopes: &mut [u16]) {
    const FMA: bool = fuses(selected_target!());
    for (x, slope) in values.iter_mut().zip(slopes) {
        let [gate, steepness] = by_tanh::<FMA>(*x);
        *slope = quantised(gate + *x * gate * (1.0 - gate) * steepness);
        *x *= gate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `math.erfc` and `math.exp` of Python, in f64.
    #[test]
    fn normal_distribution() {
        for (x, below, density) in [
            (-6.0, 9.865_876_450_377_012e-10, 6.075_882_849_823_286e-9),
            (-1.5, 0.066_807_201_268_858_07, 0.129_517_595_665_891_74),
            (0.0, 0.5, 0.398_942_280_401_432_7),
            (0.3, 0.617_911_422_188_952_7, 0.381_387_815_460_524_1),
            (2.0, 0.977_249_868_051_820_8, 0.053_990_966_513_188_06),
        ] {
            for values in [normal::<true>(x), normal::<false>(x)] {
                for (value, expected) in values.into_iter().zip([below, density]) {
                    let error: f64 = f64::from(value) - expected;
                    assert!(error.abs() < 1.5e-7, "{value} for {expected} at {x}");
                }
            }
        }
        assert!(normal::<true>(f32::NAN)[0].is_nan());
    }

    #[test]
    fn slopes_are_kept_to_a_step() {
        for step in -4_000..=40_000 {
            let slope = step as f32 / 32_000.0;
            let kept = (f32::from(quantised(slope)) - SLOPE_ZERO) * SLOPE_STEP;
            assert!(
                (kept - slope).abs() <= 0.6 * SLOPE_STEP,
                "{kept} for {slope}"
            );
        }
        for exact in [0.0, 1.0] {
            assert_eq!(
                (f32::from(quantised(exact)) - SLOPE_ZERO) * SLOPE_STEP,
                exact
            );
        }
    }
}
