//! The MLP: expansion, activation, contraction.

use multiversion::multiversion;
use multiversion::target::selected_target;

use super::exp::{exp, fuses};
use super::gradient;
use super::panels::{LANES, Panels, zeros};
use super::product::{BLOCK, Linear, Product, Weights};
use super::sublayer::{Core, Wanted, Work};
use crate::compose::SLOPE;

/// An MLP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mlp<'a> {
    pub(crate) expand: Linear<'a>,
    pub(crate) contract: Linear<'a>,
    /// Between expansion and contraction.
    pub(crate) activation: Activation,
}

/// The activations that there are bodies for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    QuickGelu,
    Relu,
}

impl Activation {
    fn forward(self, values: &mut [f32]) {
        match self {
            Self::QuickGelu => quick_gelu(values),
            Self::Relu => relu(values),
        }
    }

    /// As [`forward`](Self::forward), and the slopes at the inputs.
    fn forward_and_slope(self, values: &mut [f32], slopes: &mut [u16]) {
        match self {
            Self::QuickGelu => quick_gelu_and_slope(values, slopes),
            Self::Relu => relu_and_slope(values, slopes),
        }
    }
}

/// A slope is kept as a whole number of these steps, from -1/2 (that of quick-GELU lies between -0.1 and 1.1): to 1.6e-5, at half
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

/// What the backward pass needs of the forward pass, besides the input.
#[derive(Debug)]
pub(crate) struct MlpKept {
    /// The [slopes](quantised) of the activation, as the hidden units lie.
    slopes: Vec<[u16; LANES]>,
}

impl Mlp<'_> {
    fn expansion<'a>(
        &'a self,
        terms: &'a [(Weights<'a>, &'a Panels)],
        threads: usize,
    ) -> Product<'a> {
        Product {
            terms,
            bias: Some(self.expand.bias),
            block: BLOCK,
            threads,
        }
    }
}

impl Core for Mlp<'_> {
    type Kept = MlpKept;

    const TOKENS_ALONE: bool = true;

    fn forward(&self, x: Panels, work: Work, keep: bool) -> (Panels, MlpKept) {
        let mut slopes = Vec::new();
        let terms = [(self.expand.weights, &x)];
        let expansion = self.expansion(&terms, work.threads);
        let hidden = if keep {
            slopes = zeros(self.expand.weights.outputs * x.count);
            expansion.run_beside(Some(&mut slopes), |_, part, slopes| {
                let slopes = slopes.unwrap_or_default().as_flattened_mut();
                self.activation.forward_and_slope(part, slopes);
            })
        } else {
            expansion.run(|_, part| self.activation.forward(part))
        };
        drop(x);
        let output = Product {
            terms: &[(self.contract.weights, &hidden)],
            bias: Some(self.contract.bias),
            block: BLOCK,
            threads: work.threads,
        }
        .run(|_, _| {});
        (output, MlpKept { slopes })
    }

    fn backward(
        &self,
        x: impl Fn() -> Panels,
        kept: &MlpKept,
        grad: Panels,
        work: Work,
        wanted: Wanted,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let count = grad.count;
        let hidden_grad = Product {
            terms: &[(self.contract.weights.transposed(), &grad)],
            bias: None,
            block: BLOCK,
            threads: work.threads,
        }
        .run(|place, part| {
            let start = place.block * BLOCK * count + place.panel * part.len() / LANES;
            let slopes = kept.slopes[start..].as_flattened();
            for (grad, slope) in part.iter_mut().zip(slopes) {
                *grad *= (f32::from(*slope) - SLOPE_ZERO) * SLOPE_STEP;
            }
        });
        let mut at_parameters = Vec::new();
        if wanted.parameters {
            let x = x();
            at_parameters.push(gradient::matrix(&x, &hidden_grad));
            at_parameters.push(gradient::bias(&hidden_grad));
            // The hidden units are computed again: a sixth of the work of a step for a quarter of its memory.
            let hidden = self
                .expansion(&[(self.expand.weights, &x)], work.threads)
                .run(|_, part| self.activation.forward(part));
            at_parameters.push(gradient::matrix(&hidden, &grad));
            at_parameters.push(gradient::bias(&grad));
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

#[cfg(test)]
mod tests {
    use super::*;

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
