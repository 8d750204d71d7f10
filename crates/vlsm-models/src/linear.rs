//! Linear layers as kernels take them.

use burn::backend::Dispatch;
use burn::nn::Linear;
use burn::tensor::Tensor;
use vlsm_kernels::{LinearWeights, MlpWeights};

use crate::adapter::LowRank;

/// The parameters of a layer, with zeros where it has no bias.
pub(crate) fn weights(linear: &Linear) -> LinearWeights<Dispatch> {
    changed(linear, None)
}

/// The parameters of a layer whose matrix is changed.
pub(crate) fn changed(linear: &Linear, change: Option<&LowRank>) -> LinearWeights<Dispatch> {
    let weight = linear.weight.val();
    let bias = match &linear.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([weight.dims()[1]], &weight.device()),
    };
    let weight = match change {
        Some(change) => change.change(weight),
        None => weight,
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
