//! The MLP sublayer: normalisation, expansion, activation, contraction.

use multiversion::multiversion;
use multiversion::target::selected_target;
use rayon::prelude::*;

use super::attention::SublayerGrads;
use super::exp::exp;
use super::gradient;
use super::norm::Norm;
use super::panels::{Panels, Rows};
use super::product::{BLOCK, Weights, product};
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

    /// Multiplies the gradient by the slope at the input.
    fn backward(self, x: &[f32], grad: &mut [f32]) {
        match self {
            Self::QuickGelu => quick_gelu_backward(x, grad),
            Self::Relu => relu_backward(x, grad),
        }
    }
}

/// What the backward pass needs of the forward pass, besides the rows.
#[derive(Debug)]
pub(crate) struct MlpKept {
    /// The input of the activation.
    hidden: Panels,
    /// A bit for each result that is above 0; empty unless the result is rectified.
    above: Vec<u64>,
}

impl Mlp<'_> {
    /// Rows to rows.
    pub(crate) fn forward(&self, rows: &[f32], shape: Rows) -> Vec<f32> {
        let hidden = self.hidden(rows, shape, None);
        self.contract(&hidden).unpack(shape)
    }

    /// Rows to rows, and what the backward pass needs.
    pub(crate) fn forward_kept(&self, rows: &[f32], shape: Rows) -> (Vec<f32>, MlpKept) {
        let count = shape.images * shape.panels();
        let mut kept = Panels::zeros(self.weights[0].outputs, BLOCK, count);
        let hidden = self.hidden(rows, shape, Some(&mut kept));
        let output = self.contract(&hidden).unpack(shape);
        let above = if self.rectified {
            above(&output)
        } else {
            Vec::new()
        };
        let kept = MlpKept {
            hidden: kept,
            above,
        };
        (output, kept)
    }

    fn input(&self, rows: &[f32], shape: Rows) -> Panels {
        match self.norm {
            Some(norm) => norm.forward(rows, shape),
            None => Panels::pack(rows, shape),
        }
    }

    fn hidden(&self, rows: &[f32], shape: Rows, kept: Option<&mut Panels>) -> Panels {
        let terms = [(self.weights[0], &self.input(rows, shape))];
        product(
            &terms,
            Some(self.biases[0]),
            BLOCK,
            kept,
            |_, part, kept| {
                if let Some(kept) = kept {
                    kept.copy_from_slice(part);
                }
                self.activation.forward(part);
            },
        )
    }

    fn contract(&self, hidden: &Panels) -> Panels {
        let terms = [(self.weights[1], hidden)];
        product(&terms, Some(self.biases[1]), BLOCK, None, |_, part, _| {
            if self.rectified {
                relu(part);
            }
        })
    }

    /// Gradients at the rows and, where they are asked for, at the parameters and at those of the normalisation, given that
    /// at the output.
    pub(crate) fn backward(
        &self,
        rows: &[f32],
        kept: &MlpKept,
        grad: &[f32],
        shape: Rows,
        parameters: bool,
        norm: bool,
    ) -> SublayerGrads {
        let [expand, contract] = self.weights.map(Weights::transposed);
        let output_grad = if self.rectified {
            Panels::pack(&masked(grad, &kept.above), shape)
        } else {
            Panels::pack(grad, shape)
        };
        let terms = [(contract, &output_grad)];
        let hidden_grad = product(&terms, None, BLOCK, None, |place, part, _| {
            self.activation
                .backward(kept.hidden.panel(place.block, place.panel), part);
        });
        let mut at_parameters = Vec::new();
        if parameters {
            let x = self.input(rows, shape);
            at_parameters.push(gradient::matrix(&x, &hidden_grad));
            at_parameters.push(gradient::bias(&hidden_grad));
            let mut hidden = kept.hidden.clone();
            hidden
                .data
                .par_chunks_mut(1 << 14)
                .for_each(|part| self.activation.forward(part));
            at_parameters.push(gradient::matrix(&hidden, &output_grad));
            at_parameters.push(gradient::bias(&output_grad));
        }
        drop(output_grad);
        let grad = product(&[(expand, &hidden_grad)], None, BLOCK, None, |_, _, _| {});
        drop(hidden_grad);
        SublayerGrads::at_rows(self.norm, rows, &grad, shape, at_parameters, norm)
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

fn relu_backward(x: &[f32], grad: &mut [f32]) {
    for (grad, x) in grad.iter_mut().zip(x) {
        *grad = if *x > 0.0 { *grad } else { 0.0 };
    }
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn quick_gelu(values: &mut [f32]) {
    const FMA: bool =
        selected_target!().supports_feature_str("fma") || cfg!(target_arch = "aarch64");
    for x in values {
        *x /= 1.0 + exp::<FMA>(-SLOPE * *x);
    }
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn quick_gelu_backward(x: &[f32], grad: &mut [f32]) {
    const FMA: bool =
        selected_target!().supports_feature_str("fma") || cfg!(target_arch = "aarch64");
    for (grad, x) in grad.iter_mut().zip(x) {
        let scaled = SLOPE * x;
        let gate = 1.0 / (1.0 + exp::<FMA>(-scaled));
        *grad *= gate * (1.0 + scaled * (1.0 - gate));
    }
}
