//! Bodies on slices for the CPU backend, and the routing of the others.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use multiversion::multiversion;
use rayon::prelude::*;

use crate::compose::{self, SLOPE};
use crate::cpu::{exp, exp_wide};
use crate::sublayer::{self, Tape};
use crate::{
    Activation, AdamW, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, Kernels,
    MlpWeights, Normalisation, adamw, attention, layer_norm, quick_gelu,
};

impl<B: Tape, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn quick_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        quick_gelu::forward::<B, C>(x)
    }

    fn layer_norm_affine(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::forward::<B, C>(x, gamma, beta, epsilon)
    }

    fn softmax_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        causal: bool,
    ) -> FloatTensor<Self> {
        attention::forward::<B, C>(query, key, value, causal)
    }

    fn attention_sublayer(
        x: FloatTensor<Self>,
        norm: Normalisation<Self>,
        weights: AttentionWeights<Self>,
        adapter: Adapter<Self>,
        config: AttentionConfig,
    ) -> FloatTensor<Self> {
        B::attention_on_tape::<C>(x, norm, weights, adapter, config)
    }

    fn mlp_sublayer(
        x: FloatTensor<Self>,
        norm: Normalisation<Self>,
        weights: MlpWeights<Self>,
        adapter: Adapter<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        B::mlp_on_tape::<C>(x, norm, weights, adapter, activation)
    }

    fn adapter_block(
        x: FloatTensor<Self>,
        weights: MlpWeights<Self>,
        config: AdapterConfig,
    ) -> FloatTensor<Self> {
        B::adapter_on_tape::<C>(x, weights, config)
    }
}

/// Values that one thread works on at a time.
pub(crate) const CHUNK: usize = 16 * 1024;

impl Kernels for Flex {
    fn attention_sublayer(
        x: FlexTensor,
        norm: Normalisation<Self>,
        weights: AttentionWeights<Self>,
        adapter: Adapter<Self>,
        config: AttentionConfig,
    ) -> FlexTensor {
        sublayer::attention(x, norm, weights, adapter, config)
    }

    fn mlp_sublayer(
        x: FlexTensor,
        norm: Normalisation<Self>,
        weights: MlpWeights<Self>,
        adapter: Adapter<Self>,
        activation: Activation,
    ) -> FlexTensor {
        sublayer::mlp(x, norm, weights, adapter, activation)
    }

    fn adapter_block(
        x: FlexTensor,
        weights: MlpWeights<Self>,
        config: AdapterConfig,
    ) -> FlexTensor {
        sublayer::adapter(x, weights, config)
    }

    fn adamw(
        value: FlexTensor,
        gradient: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        rule: AdamW,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        adamw::on_slices(value, gradient, first, second, rule)
    }

    fn quick_gelu(x: FlexTensor) -> FlexTensor {
        if x.dtype() != DType::F32 {
            return compose::quick_gelu::<Self>(x);
        }
        let x = x.to_contiguous();
        let input = x.as_slice::<f32>().unwrap_or_default();
        let mut output = vec![0.0; input.len()];
        output
            .par_chunks_mut(CHUNK)
            .zip(input.par_chunks(CHUNK))
            .for_each(|(output, input)| {
                quick_gelu_slice(output, input);
            });
        tensor(output, x.shape())
    }

    fn quick_gelu_backward(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
        if x.dtype() != DType::F32 {
            return compose::quick_gelu_backward::<Self>(x, grad);
        }
        by_rows(x, grad, CHUNK, quick_gelu_backward_slice)
    }

    fn softmax_last(x: FlexTensor) -> FlexTensor {
        if x.dtype() != DType::F32 {
            return compose::softmax_last::<Self>(x);
        }
        let shape = x.shape();
        let width = shape[shape.num_dims() - 1].max(1);
        let x = x.to_contiguous();
        let input = x.as_slice::<f32>().unwrap_or_default();
        let mut output = vec![0.0; input.len()];
        output
            .par_chunks_mut(width)
            .zip(input.par_chunks(width))
            .with_min_len(CHUNK.div_ceil(width))
            .for_each(|(output, input)| softmax_row(output, input));
        tensor(output, shape)
    }

    fn softmax_backward(weights: FlexTensor, grad: FlexTensor, scale: f32) -> FlexTensor {
        if weights.dtype() != DType::F32 {
            return compose::softmax_backward::<Self>(weights, grad, scale);
        }
        let shape = weights.shape();
        let width = shape[shape.num_dims() - 1];
        by_rows(weights, grad, width, |output, weights, grad| {
            softmax_backward_row(output, weights, grad, scale);
        })
    }

    fn layer_norm_backward(
        x: FlexTensor,
        gamma: FlexTensor,
        grad: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        if x.dtype() != DType::F32 {
            return compose::layer_norm_backward::<Self>(x, gamma, grad, epsilon);
        }
        let gamma = gamma.to_contiguous();
        let gamma = gamma.as_slice::<f32>().unwrap_or_default();
        by_rows(x, grad, gamma.len(), |output, x, grad| {
            layer_norm_row(output, x, gamma, grad, epsilon);
        })
    }
}

/// A tensor made of two f32 tensors of one shape, `width` values at a time: `row(output, a, b)`.
fn by_rows(
    a: FlexTensor,
    b: FlexTensor,
    width: usize,
    row: impl Fn(&mut [f32], &[f32], &[f32]) + Sync,
) -> FlexTensor {
    let (a, b) = (a.to_contiguous(), b.to_contiguous());
    let shape = a.shape();
    let a = a.as_slice::<f32>().unwrap_or_default();
    let b = b.as_slice::<f32>().unwrap_or_default();
    let width = width.max(1);
    let mut output = vec![0.0; a.len()];
    output
        .par_chunks_mut(width)
        .zip(a.par_chunks(width))
        .zip(b.par_chunks(width))
        .with_min_len(CHUNK.div_ceil(width))
        .for_each(|((output, a), b)| row(output, a, b));
    tensor(output, shape)
}

// The loops below are compiled for several instruction sets; the widest that the processor has is chosen when they run.
// Rust contracts no sums of products, so that all give the same bits.

#[multiversion(targets = "simd")]
fn quick_gelu_slice(output: &mut [f32], input: &[f32]) {
    for (y, x) in output.iter_mut().zip(input) {
        *y = x * sigmoid(SLOPE * x);
    }
}

#[multiversion(targets = "simd")]
fn quick_gelu_backward_slice(output: &mut [f32], x: &[f32], grad: &[f32]) {
    for ((y, x), grad) in output.iter_mut().zip(x).zip(grad) {
        let scaled = SLOPE * x;
        let gate = sigmoid(scaled);
        *y = grad * gate * (1.0 + scaled * (1.0 - gate));
    }
}

/// Softmax of one row. Exponentials and their sum are in f64: where scores are large, attention is sensitive to the last
/// bits of its weights.
#[multiversion(targets = "simd")]
fn softmax_row(output: &mut [f32], x: &[f32]) {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            *most = if x > most { *x } else { *most };
        }
    }
    let most = most
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |most, x| most.max(*x));
    // A loop of its own, which is vectorised better than one that sums too; the row stays in the first cache.
    for (y, x) in output.iter_mut().zip(x) {
        *y = exp_wide::<false>(x - most) as f32;
    }
    let (chunks, rest) = output.as_chunks::<LANES>();
    let mut totals = [0.0f64; LANES];
    for chunk in chunks {
        for (total, y) in totals.iter_mut().zip(chunk) {
            *total += f64::from(*y);
        }
    }
    for (total, y) in totals.iter_mut().zip(rest) {
        *total += f64::from(*y);
    }
    let scale = (1.0 / totals.into_iter().sum::<f64>()) as f32;
    for y in output {
        *y *= scale;
    }
}

#[multiversion(targets = "simd")]
fn softmax_backward_row(output: &mut [f32], weights: &[f32], grad: &[f32], scale: f32) {
    let (chunks, rest) = weights.as_chunks::<LANES>();
    let (grads, grads_rest) = grad.as_chunks::<LANES>();
    let mut sums = [0.0f64; LANES];
    for (weights, grad) in chunks.iter().zip(grads) {
        for ((w, g), sum) in weights.iter().zip(grad).zip(&mut sums) {
            *sum += f64::from(*w) * f64::from(*g);
        }
    }
    for ((w, g), sum) in rest.iter().zip(grads_rest).zip(&mut sums) {
        *sum += f64::from(*w) * f64::from(*g);
    }
    let along = sums.into_iter().sum::<f64>() as f32;
    for ((y, w), g) in output.iter_mut().zip(weights).zip(grad) {
        *y = w * (g - along) * scale;
    }
}

/// One row of the backward pass. The sums are in f64: what is left after the two subtractions can
/// be a thousand times smaller than what went in.
#[multiversion(targets = "simd")]
fn layer_norm_row(output: &mut [f32], x: &[f32], gamma: &[f32], grad: &[f32], epsilon: f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let squares = x.iter().map(|x| (f64::from(*x) - mean).powi(2));
    let rate = 1.0 / (squares.sum::<f64>() / n + epsilon).sqrt();
    let (mut total, mut along) = (0.0, 0.0);
    for ((x, gamma), grad) in x.iter().zip(gamma).zip(grad) {
        let grad = f64::from(*grad) * f64::from(*gamma);
        total += grad;
        along += grad * (f64::from(*x) - mean) * rate;
    }
    let (total, along) = (total / n, along / n);
    for (((y, x), gamma), grad) in output.iter_mut().zip(x).zip(gamma).zip(grad) {
        let grad = f64::from(*grad) * f64::from(*gamma);
        let normal = (f64::from(*x) - mean) * rate;
        *y = ((grad - total - normal * along) * rate) as f32;
    }
}

/// Running sums of a row, each of every eighth place, so that the loops are vectorised.
const LANES: usize = 8;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp::<false>(-x))
}

pub(crate) fn tensor(data: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(data),
        Layout::contiguous(shape),
        DType::F32,
    )
}

#[cfg(any(
    feature = "cuda",
    feature = "metal",
    feature = "rocm",
    feature = "vulkan",
    feature = "webgpu"
))]
mod cube {
    use burn_cubecl::CubeBackend;

    impl crate::Kernels for CubeBackend {}
    impl crate::Tape for CubeBackend {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_is_as_close_as_f32_allows() {
        for width in [1, 7, 8, 77, 257] {
            let mut x: Vec<f32> = (0..width).map(|i| ((i * 37) % 101) as f32 * 0.3).collect();
            if width > 2 {
                x[1] = f32::NEG_INFINITY;
            }
            let most = x.iter().copied().fold(f32::MIN, f32::max);
            let exps: Vec<f64> = x.iter().map(|x| f64::from(x - most).exp()).collect();
            let total: f64 = exps.iter().sum();
            let mut output = vec![0.0; width];
            softmax_row(&mut output, &x);
            for (y, exp) in output.iter().zip(exps) {
                let expected = exp / total;
                let error = (f64::from(*y) - expected).abs();
                assert!(error <= 1.3e-7 * expected, "{width}: {y} for {expected}");
            }
        }
    }
}
