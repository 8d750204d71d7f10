//! Layer normalisation.

use burn::backend::Dispatch;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use vlsm_kernels::Normalisation;

use crate::methods::Change;

/// Layer normalisation over the last dimension, with the parameter names of PyTorch.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`.
    weight: Param<Tensor<1>>,
    /// `[width]`.
    bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// Ones and zeros.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([width], device),
            bias: Initializer::Zeros.init([width], device),
            epsilon,
        }
    }

    /// `[..., width]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_changed(x, None)
    }

    /// [`forward`](Self::forward) with changed parameters.
    pub(super) fn forward_changed<const D: usize>(
        &self,
        x: Tensor<D>,
        change: Option<&dyn Change>,
    ) -> Tensor<D> {
        let [scale, shift] = self.parameters(change);
        vlsm_kernels::layer_norm(x, scale, shift, self.epsilon)
    }

    /// The parameters, for a sublayer that normalises its own input.
    pub(super) fn of_sublayer(&self, change: Option<&dyn Change>) -> Normalisation<Dispatch> {
        let [scale, shift] = self.parameters(change);
        Normalisation::Layer {
            gamma: scale.into_dispatch(),
            beta: shift.into_dispatch(),
            epsilon: self.epsilon,
        }
    }

    /// Scale and shift, `[width]`.
    fn parameters(&self, change: Option<&dyn Change>) -> [Tensor<1>; 2] {
        let (scale, shift) = (self.weight.val(), self.bias.val());
        match change {
            Some(change) => [change.scale(scale), change.bias(shift)],
            None => [scale, shift],
        }
    }
}
