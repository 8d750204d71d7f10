//! Layer normalisation.

use burn::backend::DispatchTensor;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

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

    /// What is added to the variance.
    pub(super) fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Scale and shift, where they are not trained.
    pub(super) fn constant(&self) -> Option<[DispatchTensor; 2]> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let constant = !weight.is_require_grad() && !bias.is_require_grad();
        constant.then(|| [weight.into_dispatch(), bias.into_dispatch()])
    }
}
