//! The MLP sublayer: normalisation, expansion, quick-GELU, contraction.

use multiversion::multiversion;
use multiversion::target::selected_target;

use super::exp::exp;
use super::norm::Norm;
use super::panels::{Panels, Rows};
use super::product::{BLOCK, Weights, product};
use crate::compose::SLOPE;

/// A frozen MLP sublayer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mlp<'a> {
    pub(crate) norm: Norm<'a>,
    /// Expansion and contraction.
    pub(crate) weights: [Weights<'a>; 2],
    pub(crate) biases: [&'a [f32]; 2],
}

impl Mlp<'_> {
    /// Rows to rows.
    pub(crate) fn forward(&self, rows: &[f32], shape: Rows) -> Vec<f32> {
        self.run(rows, shape, None)
    }

    /// Rows to rows, and the input of the activation, which the backward pass needs besides the rows.
    pub(crate) fn forward_kept(&self, rows: &[f32], shape: Rows) -> (Vec<f32>, Panels) {
        let count = shape.images * shape.panels();
        let mut kept = Panels::zeros(self.weights[0].outputs, BLOCK, count);
        (self.run(rows, shape, Some(&mut kept)), kept)
    }

    fn run(&self, rows: &[f32], shape: Rows, kept: Option<&mut Panels>) -> Vec<f32> {
        let [expand, contract] = self.weights;
        let x = self.norm.forward(rows, shape);
        let hidden = product(
            &[(expand, &x)],
            Some(self.biases[0]),
            BLOCK,
            kept,
            |_, part, kept| {
                if let Some(kept) = kept {
                    kept.copy_from_slice(part);
                }
                quick_gelu(part);
            },
        );
        let output = [(contract, &hidden)];
        product(&output, Some(self.biases[1]), BLOCK, None, |_, _, _| {}).unpack(shape)
    }

    /// The gradient at the rows, given that at the output.
    pub(crate) fn backward(
        &self,
        rows: &[f32],
        kept: &Panels,
        grad: &[f32],
        shape: Rows,
    ) -> Vec<f32> {
        let [expand, contract] = self.weights.map(Weights::transposed);
        let grad = Panels::pack(grad, shape);
        let hidden = product(&[(contract, &grad)], None, BLOCK, None, |place, part, _| {
            quick_gelu_backward(kept.panel(place.block, place.panel), part);
        });
        let grad = product(&[(expand, &hidden)], None, BLOCK, None, |_, _, _| {});
        self.norm.backward(rows, &grad, shape)
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

/// Multiplies the gradient by the slope at the input.
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
