//! The MLP sublayer: normalisation, expansion, activation, contraction.

use multiversion::multiversion;
use multiversion::target::selected_target;
use rayon::prelude::*;

use super::attention::{SublayerGrads, Wanted};
use super::exp::{exp, fuses};
use super::gradient;
use super::norm::{Norm, input};
use super::panels::{LANES, Panels, Rows, zeros};
use super::product::{BLOCK, Weights, product, product_beside};
use crate::compose::SLOPE;

/// An MLP sublayer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mlp<'a> {
    pub(crate) norm: Option<Norm<'a>>,
    /// Expansion and contraction.
    pub(crate) weights: [Weights<'a>; 2],
    pub(crate) biases: [&'a [f32]; 2],
    /// Between expansion and contraction.
    pub(crate) activation: Activation,
    /// Whether the result is rectified.
    pub(crate) rectified: bool,
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

/// What the backward pass needs of the forward pass, besides the rows.
#[derive(Debug)]
pub(crate) struct MlpKept {
    /// The [slopes](quantised) of the activation, as the hidden units lie.
    slopes: Vec<u16>,
    /// A bit for each result that is above 0; empty unless the result is rectified.
    above: Vec<u64>,
    /// The hidden units, where they are no more than the inputs, as in an adapter.
    hidden: Option<Panels>,
}

impl Mlp<'_> {
    /// Rows to rows.
    pub(crate) fn forward(&self, rows: &[f32], shape: Rows) -> Vec<f32> {
        let x = input(self.norm, rows, shape);
        let hidden = self.expand(&x);
        self.contract(&hidden).unpack(shape)
    }

    /// Rows to rows, and what the backward pass needs.
    pub(crate) fn forward_kept(&self, rows: &[f32], shape: Rows) -> (Vec<f32>, MlpKept) {
        let x = input(self.norm, rows, shape);
        let mut slopes = zeros(self.weights[0].outputs * x.count * LANES);
        let terms = [(self.weights[0], &x)];
        let beside = Some(&mut slopes[..]);
        let hidden = product_beside(
            &terms,
            Some(self.biases[0]),
            BLOCK,
            beside,
            |_, part, slopes| {
                if let Some(slopes) = slopes {
                    self.activation.forward_and_slope(part, slopes);
                }
            },
        );
        drop(x);
        let output = self.contract(&hidden).unpack(shape);
        let above = if self.rectified {
            above(&output)
        } else {
            Vec::new()
        };
        let hidden = (self.weights[0].outputs <= self.weights[0].inputs).then_some(hidden);
        let kept = MlpKept {
            slopes,
            above,
            hidden,
        };
        (output, kept)
    }

    fn expand(&self, x: &Panels) -> Panels {
        let terms = [(self.weights[0], x)];
        product(&terms, Some(self.biases[0]), BLOCK, |_, part| {
            self.activation.forward(part);
        })
    }

    fn contract(&self, hidden: &Panels) -> Panels {
        let terms = [(self.weights[1], hidden)];
        product(&terms, Some(self.biases[1]), BLOCK, |_, part| {
            if self.rectified {
                relu(part);
            }
        })
    }

    /// The gradients that are asked for, given that at the output.
    pub(crate) fn backward(
        &self,
        rows: &[f32],
        kept: &MlpKept,
        grad: &[f32],
        shape: Rows,
        wanted: Wanted,
    ) -> SublayerGrads {
        let [expand, contract] = self.weights.map(Weights::transposed);
        let output_grad = if self.rectified {
            Panels::pack(&masked(grad, &kept.above), shape)
        } else {
            Panels::pack(grad, shape)
        };
        let terms = [(contract, &output_grad)];
        let hidden_grad = product(&terms, None, BLOCK, |place, part| {
            let start = place.block * BLOCK * output_grad.count * LANES + place.panel * part.len();
            for (grad, slope) in part.iter_mut().zip(&kept.slopes[start..]) {
                *grad *= (f32::from(*slope) - SLOPE_ZERO) * SLOPE_STEP;
            }
        });
        let mut at_parameters = Vec::new();
        if wanted.parameters {
            let x = input(self.norm, rows, shape);
            at_parameters.push(gradient::matrix(&x, &hidden_grad));
            at_parameters.push(gradient::bias(&hidden_grad));
            // Where there are many they are computed again: a sixth of the work of a step for a quarter of its memory.
            let again;
            let hidden = match &kept.hidden {
                Some(hidden) => hidden,
                None => {
                    again = self.expand(&x);
                    &again
                }
            };
            at_parameters.push(gradient::matrix(hidden, &output_grad));
            at_parameters.push(gradient::bias(&output_grad));
        }
        drop(output_grad);
        if !wanted.rows && !wanted.norm {
            return SublayerGrads::of_parameters(at_parameters);
        }
        let grad = product(&[(expand, &hidden_grad)], None, BLOCK, |_, _| {});
        drop(hidden_grad);
        SublayerGrads::at_rows(self.norm, rows, &grad, shape, at_parameters, wanted)
    }
}

/// Which values are above 0, a bit for each.
fn above(values: &[f32]) -> Vec<u64> {
    let bits = |values: &[f32]| {
        let values = values.iter().rev();
        values.fold(0, |bits, x| bits << 1 | u64::from(*x > 0.0))
    };
    values.par_chunks(64).with_min_len(256).map(bits).collect()
}

/// The values whose bits are set, and 0 for the others.
fn masked(values: &[f32], bits: &[u64]) -> Vec<f32> {
    let mut result = values.to_vec();
    result
        .par_chunks_mut(64)
        .zip(bits)
        .with_min_len(256)
        .for_each(|(values, bits)| {
            for (place, x) in values.iter_mut().enumerate() {
                *x = if bits >> place & 1 == 1 { *x } else { 0.0 };
            }
        });
    result
}

fn relu(values: &mut [f32]) {
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
