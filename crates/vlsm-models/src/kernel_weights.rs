//! The parameters of linear layers, as the kernels take them.

use burn::backend::Dispatch;
use burn::nn::Linear;
use burn::tensor::Tensor;
use vlsm_kernels::{LinearWeights, MlpWeights};

/// The parameters of a layer, with zeros where it has no bias.
pub(crate) fn weights(linear: &Linear) -> LinearWeights<Dispatch> {
    with_matrix(linear, linear.weight.val())
}

/// The parameters of a layer with another matrix `[input, output]`.
pub(crate) fn with_matrix(linear: &Linear, weight: Tensor<2>) -> LinearWeights<Dispatch> {
    let bias = match &linear.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([weight.dims()[1]], &weight.device()),
    };
    LinearWeights {
        weight: weight.into_dispatch(),
        bias: bias.into_dispatch(),
    }
}

/// The parameters of two layers with an activation between them.
pub(crate) fn mlp_weights(fc1: &Linear, fc2: &Linear) -> MlpWeights<Dispatch> {
    MlpWeights {
        expand: weights(fc1),
        contract: weights(fc2),
    }
}
