//! The parameters of linear layers, as the kernels take them.

use burn::backend::Dispatch;
use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{FloatDType, Tensor};
use vlsm_kernels::{Int8Weights, LinearWeights, MlpWeights};

use crate::precision::Precision;

/// The parameters of a layer, with zeros where it has no bias.
pub(crate) fn weights(linear: &Linear) -> LinearWeights<Dispatch> {
    with_matrix(linear, linear.weight.val(), None)
}

/// The parameters of a layer with another matrix `[input, output]`, or with its own in 8 bits.
pub(crate) fn with_matrix(
    linear: &Linear,
    weight: Tensor<2>,
    int8: Option<&Int8Weights>,
) -> LinearWeights<Dispatch> {
    let bias = match &linear.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([weight.dims()[1]], &weight.device()),
    };
    LinearWeights {
        weight: weight.into_dispatch(),
        bias: bias.into_dispatch(),
        int8: int8.cloned(),
    }
}

/// The parameters of two layers with an activation between them.
pub(crate) fn mlp_weights(fc1: &Linear, fc2: &Linear) -> MlpWeights<Dispatch> {
    MlpWeights {
        expand: weights(fc1),
        contract: weights(fc2),
    }
}

/// Puts a frozen layer's matrix in another precision. In 8 bits, returned, the f32 values are freed; the layer then has NaN, which
/// takes no memory and shows where a matrix is used that does not exist any more.
pub(crate) fn set_precision(linear: &mut Linear, precision: Precision) -> Option<Int8Weights> {
    let weight = linear.weight.val();
    let [inputs, outputs] = weight.dims();
    let (weight, int8) = match precision {
        Precision::F32 => return None,
        Precision::Bf16 => (weight.cast(FloatDType::BF16), None),
        Precision::Int8 => {
            let data = weight.clone().into_data().convert::<f32>();
            let int8 = Int8Weights::new(data.as_slice().unwrap_or_default(), inputs, outputs);
            let gone = Tensor::<2>::full([1, 1], f32::NAN, &weight.device());
            (gone.expand([inputs, outputs]), Some(int8))
        }
    };
    linear.weight = Param::initialized(linear.weight.id, weight);
    int8
}
