//! The parameters of linear layers, as the kernels take them.

use burn::backend::Dispatch;
use burn::module::Param;
use burn::nn::{Embedding, Linear};
use burn::tensor::{DType, FloatDType, Int, Tensor};
use vlsm_kernels::{FrozenWeights, HalfWeights, Int8Weights, LinearWeights, MlpWeights};

use crate::device::is_cpu;
use crate::precision::Precision;

/// A layer's matrix `[input, output]` and bias `[output]`, with zeros where it has none.
pub(crate) fn parameters(linear: &Linear) -> (Tensor<2>, Tensor<1>) {
    let weight = linear.weight.val();
    let bias = match &linear.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([weight.dims()[1]], &weight.device()),
    };
    (weight, bias)
}

/// A matrix `[input, output]` and a bias, or the bias with a layer's own matrix in fewer bits.
pub(crate) fn with_matrix(
    (weight, bias): (Tensor<2>, Tensor<1>),
    frozen: Option<&FrozenWeights>,
) -> LinearWeights<Dispatch> {
    LinearWeights {
        weight: weight.into_dispatch(),
        bias: bias.into_dispatch(),
        frozen: frozen.cloned(),
    }
}

/// The parameters of two layers with an activation between them.
pub(crate) fn mlp_weights(fc1: &Linear, fc2: &Linear) -> MlpWeights<Dispatch> {
    MlpWeights {
        expand: with_matrix(parameters(fc1), None),
        contract: with_matrix(parameters(fc2), None),
    }
}

/// Puts a frozen layer's matrix in another precision. If it is returned, in 8 bits or in half precision on the CPU, the f32 values are
/// freed; the layer then has NaN, which takes no memory and shows where a matrix is used that does not exist any more.
pub(crate) fn set_precision(linear: &mut Linear, precision: Precision) -> Option<FrozenWeights> {
    let weight = linear.weight.val();
    let [inputs, outputs] = weight.dims();
    let (weight, frozen) = match precision {
        Precision::F32 => return None,
        Precision::Bf16 => (weight.cast(FloatDType::BF16), None),
        Precision::F16 if !is_cpu(&weight.device()) => (weight.cast(FloatDType::F16), None),
        Precision::F16 | Precision::Int8 => {
            let data = weight.clone().into_data().convert::<f32>();
            let matrix = data.as_slice().unwrap_or_default();
            let frozen = match precision {
                Precision::F16 => FrozenWeights::F16(HalfWeights::new(matrix, inputs, outputs)),
                _ => FrozenWeights::Int8(Int8Weights::new(matrix, inputs, outputs)),
            };
            let gone = Tensor::<2>::full([1, 1], f32::NAN, &weight.device());
            (gone.expand([inputs, outputs]), Some(frozen))
        }
    };
    linear.weight = Param::initialized(linear.weight.id, weight);
    frozen
}

/// Puts a frozen embedding in half precision where matrices are in fewer bits on the CPU: CLIP's takes as much memory as a third of
/// its text tower's matrices.
pub(crate) fn halve_embedding(embedding: &mut Embedding, precision: Precision) {
    if matches!(precision, Precision::F16 | Precision::Int8) {
        let weight = embedding.weight.val().cast(FloatDType::F16);
        embedding.weight = Param::initialized(embedding.weight.id, weight);
    }
}

/// The vectors of tokens, `[batch, tokens, width]`, in f32 if the embedding is in half precision.
pub(crate) fn embedded(embedding: &Embedding, ids: Tensor<2, Int>) -> Tensor<3> {
    let vectors = embedding.forward(ids);
    match vectors.dtype() {
        DType::F16 => vectors.cast(FloatDType::F32),
        _ => vectors,
    }
}
