//! Linear layers as kernels take them.

use burn::backend::DispatchTensor;
use burn::nn::Linear;
use burn::tensor::Tensor;

/// Weights `[input, output]` and bias `[output]`, zeros where the layer has none.
pub(crate) fn weights(linear: &Linear) -> [DispatchTensor; 2] {
    let weight = linear.weight.val();
    let bias = match &linear.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([weight.dims()[1]], &weight.device()),
    };
    [weight.into_dispatch(), bias.into_dispatch()]
}
