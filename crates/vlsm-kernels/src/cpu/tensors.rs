//! Tensors of the CPU backend as slices of f32, and back.

use burn::backend::Flex;
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

use super::linear::{Linear, Values, Weights};
use crate::frozen::FrozenWeights;
use crate::ops::LinearWeights;

/// Values that one thread processes at a time.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Whether the kernels can read a tensor. Callers check all operands and compose the operation otherwise.
pub(crate) fn is_f32(tensor: &FlexTensor) -> bool {
    tensor.dtype() == DType::F32
}

/// The values of a contiguous f32 tensor.
///
/// Panics if the dtype is another, as [`is_f32`] says: an empty slice would silently skip the operation.
pub(crate) fn values(tensor: &FlexTensor) -> &[f32] {
    debug_assert!(
        tensor.is_contiguous(),
        "the kernels read contiguous tensors"
    );
    let start = tensor.layout().start_offset();
    &tensor.storage()[start..][..tensor.layout().num_elements()]
}

/// A tensor of values.
pub(crate) fn from_values(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(shape),
        DType::F32,
    )
}

/// A layer; its matrix `[input, output]` may have any strides, its bias is contiguous.
pub(crate) fn linear(layer: &LinearWeights<Flex>) -> Linear<'_> {
    let layout = layer.weight.layout();
    let [inputs, outputs] = match &layer.frozen {
        Some(frozen) => frozen.shape(),
        None => layout.shape().dims::<2>(),
    };
    let [input_stride, output_stride] = [0, 1].map(|axis| layout.strides()[axis].unsigned_abs());
    let weights = match &layer.frozen {
        Some(FrozenWeights::F16(half)) => Weights {
            data: Values::F16(&half.values),
            inputs,
            outputs,
            input_stride: outputs,
            output_stride: 1,
        },
        _ => Weights {
            data: Values::F32(&layer.weight.storage()[layout.start_offset()..]),
            inputs,
            outputs,
            input_stride,
            output_stride,
        },
    };
    Linear {
        weights,
        bias: values(&layer.bias),
        frozen: layer.frozen.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty slice would silently skip a normalisation or a bias.
    #[test]
    #[should_panic]
    fn values_of_another_type_are_not_read_as_none() {
        let bytes = Bytes::from_elems(vec![1.0f64; 4]);
        let tensor = FlexTensor::new(bytes, Layout::contiguous(Shape::new([4])), DType::F64);
        values(&tensor);
    }
}
