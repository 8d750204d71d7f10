//! Layer normalisation.

use burn::backend::Dispatch;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use vlsm_kernels::Normalisation;

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
        vlsm_kernels::layer_norm(x, self.weight.val(), self.bias.val(), self.epsilon)
    }

    /// The parameters, for a sublayer that normalises its own input.
    pub(super) fn of_sublayer(&self) -> Normalisation<Dispatch> {
        Normalisation::Layer {
            gamma: self.weight.val().into_dispatch(),
            beta: self.bias.val().into_dispatch(),
            epsilon: self.epsilon,
        }
    }
}
