//! Operations that process a row (the last dimension) or single values at a time.

use burn::backend::{Flex, TensorMetadata};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::exp::{exp, exp_wide};
use super::isa::{Isa, Portable, dispatch};
use super::tensors::{CHUNK, from_values, is_f32, values};
use crate::compose;
use crate::ops::QUICK_GELU_SLOPE;

/// See [`quick_gelu`](crate::quick_gelu()).
pub(crate) fn quick_gelu(x: FlexTensor) -> FlexTensor {
    if !is_f32(&x) {
        return compose::quick_gelu::<Flex>(x);
    }
    let x = x.to_contiguous();
    let input = values(&x);
    let mut output = vec![0.0; input.len()];
    output
        .par_chunks_mut(CHUNK)
        .zip(input.par_chunks(CHUNK))
        .for_each(|(output, input)| {
            quick_gelu_slice(output, input);
        });
    from_values(output, x.shape())
}

/// See [`Kernels::quick_gelu_backward`](crate::kernels::Kernels::quick_gelu_backward).
pub(crate) fn quick_gelu_backward(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
    if !(is_f32(&x) && is_f32(&grad)) {
        return compose::quick_gelu_backward::<Flex>(x, grad);
    }
    by_rows(x, grad, CHUNK, quick_gelu_backward_slice)
}

/// Softmax over the last dimension.
pub(crate) fn softmax(x: FlexTensor) -> FlexTensor {
    if !is_f32(&x) {
        return compose::softmax_last::<Flex>(x);
    }
    let shape = x.shape();
    let width = shape[shape.num_dims() - 1].max(1);
    let x = x.to_contiguous();
    let input = values(&x);
    let mut output = vec![0.0; input.len()];
    output
        .par_chunks_mut(width)
        .zip(input.par_chunks(width))
        .with_min_len(CHUNK.div_ceil(width))
        .for_each(|(output, input)| softmax_row(output, input));
    from_values(output, shape)
}

/// See [`Kernels::softmax_backward`](crate::kernels::Kernels::softmax_backward).
pub(crate) fn softmax_backward(weights: FlexTensor, grad: FlexTensor, scale: f32) -> FlexTensor {
    if !(is_f32(&weights) && is_f32(&grad)) {
        return compose::softmax_backward::<Flex>(weights, grad, scale);
    }
    let shape = weights.shape();
    let width = shape[shape.num_dims() - 1];
    by_rows(weights, grad, width, |output, weights, grad| {
        softmax_backward_row(output, weights, grad, scale);
    })
}

/// See [`Kernels::layer_norm_backward`](crate::kernels::Kernels::layer_norm_backward).
pub(crate) fn layer_norm_backward(
    x: FlexTensor,
    gamma: FlexTensor,
    grad: FlexTensor,
    epsilon: f64,
) -> FlexTensor {
    if ![&x, &gamma, &grad].into_iter().all(is_f32) {
        return compose::layer_norm_backward::<Flex>(x, gamma, grad, epsilon);
    }
    let gamma = gamma.to_contiguous();
    let gamma = values(&gamma);
    by_rows(x, grad, gamma.len(), |output, x, grad| {
        layer_norm_row(output, x, gamma, grad, epsilon);
    })
}

/// A tensor computed from two f32 tensors of the same shape, `width` values at a time: `row(output, a, b)`.
fn by_rows(
    a: FlexTensor,
    b: FlexTensor,
    width: usize,
    row: impl Fn(&mut [f32], &[f32], &[f32]) + Sync,
) -> FlexTensor {
    let (a, b) = (a.to_contiguous(), b.to_contiguous());
    let shape = a.shape();
    let (a, b) = (values(&a), values(&b));
    let width = width.max(1);
    let mut output = vec![0.0; a.len()];
    output
        .par_chunks_mut(width)
        .zip(a.par_chunks(width))
        .zip(b.par_chunks(width))
        .with_min_len(CHUNK.div_ceil(width))
        .for_each(|((output, a), b)| row(output, a, b));
    from_values(output, shape)
}

// The loops below are compiled for several instruction sets, and the widest that the processor has is chosen at run time.
// Rust does not contract products and sums into fused multiply-adds, so all of them give the same bits.

dispatch! { fn quick_gelu_slice(output: &mut [f32], input: &[f32]) = quick_gelu_slice_body; }

#[inline(always)]
fn quick_gelu_slice_body<I: Isa>(output: &mut [f32], input: &[f32]) {
    for (y, x) in output.iter_mut().zip(input) {
        *y = x * sigmoid(QUICK_GELU_SLOPE * x);
    }
}

dispatch! { fn quick_gelu_backward_slice(output: &mut [f32], x: &[f32], grad: &[f32]) = quick_gelu_backward_slice_body; }

#[inline(always)]
fn quick_gelu_backward_slice_body<I: Isa>(output: &mut [f32], x: &[f32], grad: &[f32]) {
    for ((y, x), grad) in output.iter_mut().zip(x).zip(grad) {
        let scaled = QUICK_GELU_SLOPE * x;
        let gate = sigmoid(scaled);
        *y = grad * gate * (1.0 + scaled * (1.0 - gate));
    }
}

dispatch! { fn softmax_row(output: &mut [f32], x: &[f32]) = softmax_row_body; }

/// Softmax of one row. Exponentials and their sum are in f64: where scores are large, attention depends on the last bits of
/// its weights.
#[inline(always)]
fn softmax_row_body<I: Isa>(output: &mut [f32], x: &[f32]) {
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
    // A separate loop vectorises better than one that also sums; the row stays in the L1 cache.
    for (y, x) in output.iter_mut().zip(x) {
        *y = exp_wide::<Portable>(x - most) as f32;
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

dispatch! { fn softmax_backward_row(output: &mut [f32], weights: &[f32], grad: &[f32], scale: f32) = softmax_backward_row_body; }

#[inline(always)]
fn softmax_backward_row_body<I: Isa>(
    output: &mut [f32],
    weights: &[f32],
    grad: &[f32],
    scale: f32,
) {
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

dispatch! { fn layer_norm_row(output: &mut [f32], x: &[f32], gamma: &[f32], grad: &[f32], epsilon: f64) = layer_norm_row_body; }

/// One row of the backward pass of layer normalisation. The sums are in f64: the result of the two subtractions can be a
/// thousand times smaller than their operands.
#[inline(always)]
fn layer_norm_row_body<I: Isa>(
    output: &mut [f32],
    x: &[f32],
    gamma: &[f32],
    grad: &[f32],
    epsilon: f64,
) {
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

/// Number of running sums of a row, each over every eighth value, so that the loops vectorise.
const LANES: usize = 8;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp::<Portable>(-x))
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
