//! The operations composed of Burn's operations, for backends without kernels and for tensors that are not f32.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{FloatDType, IntDType, Shape, Slice};

use crate::kernels::Kernels;
use crate::ops::{
    Activation, AdamW, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, Connection,
    LinearWeights, MlpConfig, MlpWeights, Normalisation, QUICK_GELU_SLOPE,
};

/// `x * sigmoid(1.702 x)`.
pub fn quick_gelu<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let gate = B::sigmoid(B::float_mul_scalar(x.clone(), QUICK_GELU_SLOPE.into()));
    B::float_mul(x, gate)
}

/// `grad * s (1 + 1.702 x (1 - s))` with `s = sigmoid(1.702 x)`.
pub fn quick_gelu_backward<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let scaled = B::float_mul_scalar(x, QUICK_GELU_SLOPE.into());
    let gate = B::sigmoid(scaled.clone());
    let rest = B::float_add_scalar(B::float_neg(gate.clone()), 1f32.into());
    let slope = B::float_add_scalar(B::float_mul(scaled, rest), 1f32.into());
    B::float_mul(grad, B::float_mul(gate, slope))
}

/// Layer normalisation over the last dimension.
pub fn layer_norm<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    B::layer_norm(x, gamma, Some(beta), epsilon)
}

/// `(g - mean(g) - n mean(g n)) / std` over the last dimension, with `g = grad * gamma` and `n` the
/// normalised input.
pub fn layer_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    grad: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    let last = x.shape().num_dims() - 1;
    let mut wide = vec![1; last + 1];
    wide[last] = gamma.shape()[0];
    let gamma = B::float_reshape(gamma, Shape::from(wide));
    let centred = B::float_sub(x.clone(), B::float_mean_dim(x, last));
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), last);
    let deviation = B::float_sqrt(B::float_add_scalar(variance, epsilon.into()));
    let normal = B::float_div(centred, deviation.clone());
    let grad = B::float_mul(grad, gamma);
    let mean = B::float_mean_dim(grad.clone(), last);
    let along = B::float_mean_dim(B::float_mul(grad.clone(), normal.clone()), last);
    let change = B::float_sub(B::float_sub(grad, mean), B::float_mul(normal, along));
    B::float_div(change, deviation)
}

/// Softmax over the last dimension.
pub fn softmax_last<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let last = x.shape().num_dims() - 1;
    B::softmax(x, last)
}

/// `scale * w (g - sum(w g))` over the last dimension.
pub fn softmax_backward<B: Backend>(
    weights: FloatTensor<B>,
    grad: FloatTensor<B>,
    scale: f32,
) -> FloatTensor<B> {
    let last = weights.shape().num_dims() - 1;
    let along = B::float_sum_dim(B::float_mul(weights.clone(), grad.clone()), last);
    let grad = B::float_mul(weights, B::float_sub(grad, along));
    B::float_mul_scalar(grad, scale.into())
}

/// The factor of the scores: `1 / sqrt(width)` of a query `[batch, heads, tokens, width]`.
pub(crate) fn attention_scale(query: &Shape) -> f64 {
    let [.., width] = query.dims::<4>();
    1.0 / (width as f64).sqrt()
}

/// Attention weights, `softmax(q k^T / sqrt(width))`, `[batch, heads, tokens, tokens]`.
///
/// The query is scaled before the product, as in Transformers, to round as it does. (The CPU backend's own fused attention had
/// ten times the error against f64 where scores are large.)
pub fn attention_weights<B: Kernels>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    causal: bool,
) -> FloatTensor<B> {
    let [.., tokens, _] = query.shape().dims::<4>();
    let scale = attention_scale(&query.shape());
    let query = B::float_mul_scalar(query, scale.into());
    let scores = B::float_matmul(query, B::float_transpose(key));
    let scores = if causal {
        let mask = causal_mask::<B>(tokens, &scores);
        B::float_add(scores, mask)
    } else {
        scores
    };
    B::softmax_last(scores)
}

/// What is added to `scores` so that a query sees no key after it, `[1, 1, tokens, tokens]`: 0, or a number so small that the
/// softmax of it is 0.
///
/// It is made on the device, without a copy from the host. It is not a tensor of booleans, since their element type on GPUs
/// depends on the device.
fn causal_mask<B: Backend>(tokens: usize, scores: &FloatTensor<B>) -> FloatTensor<B> {
    let dtype = FloatDType::from(scores.dtype());
    let smallest = match dtype {
        FloatDType::F16 => -6e4,
        _ => -1e30,
    };
    let count = |shape: [usize; 4]| {
        let range = B::int_arange(0..tokens as i64, &scores.device(), IntDType::I32);
        let range = B::int_into_float(range, dtype);
        B::float_reshape(range, Shape::from(shape))
    };
    let ahead = B::float_sub(count([1, 1, 1, tokens]), count([1, 1, tokens, 1]));
    B::float_mul_scalar(
        B::float_clamp(ahead, 0f32.into(), 1f32.into()),
        smallest.into(),
    )
}

/// Attention weights times the values, in blocks of images.
pub fn attention<B: Kernels>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    causal: bool,
) -> FloatTensor<B> {
    let [mixed] = in_blocks::<B, 3, 1>([query, key, value], |[query, key, value]| {
        let weights = attention_weights::<B>(query, key, causal);
        [B::float_matmul(weights, value)]
    });
    mixed
}

/// What the scores of a block of images take at most, in bytes: for all images together they could take more memory than the
/// rest of a step. (All of 32 images at CLIPSeg's size are 0.36 GB.)
const BLOCK: usize = 512 << 20;

/// Applies attention, or its backward pass, to blocks of images whose scores take at most [`BLOCK`] bytes, or to one image at a
/// time. The first two inputs are queries and keys; all inputs and results are `[batch, heads, tokens, width]`.
pub(crate) fn in_blocks<B: Backend, const N: usize, const M: usize>(
    inputs: [FloatTensor<B>; N],
    work: impl FnMut([FloatTensor<B>; N]) -> [FloatTensor<B>; M],
) -> [FloatTensor<B>; M] {
    in_blocks_of::<B, N, M>(BLOCK, inputs, work)
}

fn in_blocks_of<B: Backend, const N: usize, const M: usize>(
    bytes: usize,
    inputs: [FloatTensor<B>; N],
    mut work: impl FnMut([FloatTensor<B>; N]) -> [FloatTensor<B>; M],
) -> [FloatTensor<B>; M] {
    let [batch, heads, queries, _] = inputs[0].shape().dims::<4>();
    let [_, _, keys, _] = inputs[1].shape().dims::<4>();
    let image = heads * queries * keys * inputs[0].dtype().size();
    let images = (bytes / image.max(1)).max(1);
    if images >= batch {
        return work(inputs);
    }
    let mut results = [(); M].map(|()| Vec::new());
    for start in (0..batch).step_by(images) {
        let block = Slice::from(start..batch.min(start + images));
        let of_block = inputs.clone().map(|x| B::float_slice(x, &[block]));
        for (all, result) in results.iter_mut().zip(work(of_block)) {
            all.push(result);
        }
    }
    results.map(|all| B::float_cat(all, 0))
}

/// `x w + b` over the last dimension. A matrix in another precision than `x` sets that of the product; the rest is in that of
/// `x`.
fn linear<B: Backend>(x: FloatTensor<B>, layer: LinearWeights<B>) -> FloatTensor<B> {
    let [inputs, outputs] = layer.weight.shape().dims::<2>();
    let weight = B::float_reshape(layer.weight, Shape::from(vec![1, inputs, outputs]));
    let bias = B::float_reshape(layer.bias, Shape::from(vec![1, 1, outputs]));
    let (outside, inside) = (x.dtype(), weight.dtype());
    let product = if outside == inside {
        B::float_matmul(x, weight)
    } else {
        let product = B::float_matmul(B::float_cast(x, inside.into()), weight);
        B::float_cast(product, outside.into())
    };
    B::float_add(product, bias)
}

/// `x`, normalised if the sublayer says so.
fn normalised<B: Kernels>(x: FloatTensor<B>, norm: Normalisation<B>) -> FloatTensor<B> {
    match norm {
        Normalisation::None => x,
        Normalisation::Layer {
            gamma,
            beta,
            epsilon,
        } => B::layer_norm_affine(x, gamma, beta, epsilon),
    }
}

/// See [`attention_sublayer`](crate::attention_sublayer).
pub fn attention_sublayer<B: Kernels>(
    x: FloatTensor<B>,
    norm: Normalisation<B>,
    weights: AttentionWeights<B>,
    adapter: Adapter<B>,
    config: AttentionConfig,
) -> FloatTensor<B> {
    let residual = x.clone();
    let shape = x.shape();
    let [batch, tokens, width] = shape.dims::<3>();
    let x = normalised::<B>(x, norm);
    let split = |x: FloatTensor<B>| {
        let by_head = vec![batch, tokens, config.heads, width / config.heads];
        B::float_swap_dims(B::float_reshape(x, Shape::from(by_head)), 1, 2)
    };
    let query = split(linear::<B>(x.clone(), weights.query));
    let key = split(linear::<B>(x.clone(), weights.key));
    let value = split(linear::<B>(x.clone(), weights.value));
    let mixed = B::softmax_attention(query, key, value, config.causal);
    let mixed = B::float_reshape(B::float_swap_dims(mixed, 1, 2), shape);
    let output = linear::<B>(mixed, weights.output);
    B::float_add(residual, adapted::<B>(x, output, adapter))
}

/// See [`mlp_sublayer`](crate::mlp_sublayer).
pub fn mlp_sublayer<B: Kernels>(
    x: FloatTensor<B>,
    norm: Normalisation<B>,
    weights: MlpWeights<B>,
    adapter: Adapter<B>,
    config: MlpConfig,
) -> FloatTensor<B> {
    let residual = x.clone();
    let x = normalised::<B>(x, norm);
    let output = mlp::<B>(x.clone(), weights, config.activation);
    B::float_add(residual, adapted::<B>(x, output, adapter))
}

/// `contract(activation(expand(x)))`.
fn mlp<B: Kernels>(
    x: FloatTensor<B>,
    weights: MlpWeights<B>,
    activation: Activation,
) -> FloatTensor<B> {
    let hidden = linear::<B>(x, weights.expand);
    let hidden = match activation {
        Activation::QuickGelu => B::quick_gelu(hidden),
        Activation::Gelu => gelu::<B>(hidden),
        Activation::GeluTanh => gelu_tanh::<B>(hidden),
        Activation::Relu => B::relu(hidden),
    };
    linear::<B>(hidden, weights.contract)
}

/// See [`adapter_block`](crate::adapter_block).
pub fn adapter_block<B: Kernels>(
    x: FloatTensor<B>,
    weights: MlpWeights<B>,
    config: AdapterConfig,
) -> FloatTensor<B> {
    let change = mlp::<B>(x.clone(), weights, config.activation);
    let change = if config.rectified {
        B::relu(change)
    } else {
        change
    };
    let change = if config.scale == 1.0 {
        change
    } else {
        B::float_mul_scalar(change, config.scale.into())
    };
    match config.connection {
        Connection::Sequential => B::float_add(x, change),
        Connection::Parallel => change,
    }
}

/// A sublayer's output after its adapter, given the sublayer's (normalised) input and its output.
fn adapted<B: Kernels>(
    input: FloatTensor<B>,
    output: FloatTensor<B>,
    adapter: Adapter<B>,
) -> FloatTensor<B> {
    match adapter {
        Adapter::None => output,
        Adapter::Block { weights, config } => match config.connection {
            Connection::Sequential => adapter_block::<B>(output, weights, config),
            Connection::Parallel => {
                B::float_add(output, adapter_block::<B>(input, weights, config))
            }
        },
    }
}

/// An AdamW step: the new value, first and second moment. See [`adamw`](crate::adamw()).
pub fn adamw<B: Backend>(
    value: FloatTensor<B>,
    gradient: FloatTensor<B>,
    first: FloatTensor<B>,
    second: FloatTensor<B>,
    rule: AdamW,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let factors = rule.factors();
    let times = |x: FloatTensor<B>, factor: f32| B::float_mul_scalar(x, factor.into());
    let difference = B::float_sub(gradient.clone(), first.clone());
    let first = B::float_add(first, times(difference, factors.rate_1));
    let square = B::float_mul(gradient.clone(), gradient);
    let second = B::float_add(times(second, factors.beta_2), times(square, factors.rate_2));
    let root = B::float_div_scalar(B::float_sqrt(second.clone()), factors.root.into());
    let root = B::float_add_scalar(root, factors.epsilon.into());
    let change = B::float_div(first.clone(), root);
    let value = B::float_sub(
        times(value, factors.decay),
        times(change, factors.step_size),
    );
    (value, first, second)
}

/// See [`gelu`](crate::gelu()). Burn's own has another gradient on most backends (0.22.1), that of the tanh approximation, which differs
/// by up to 8e-4.
pub fn gelu<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let erf = B::float_erf(B::float_mul_scalar(
        x.clone(),
        std::f64::consts::FRAC_1_SQRT_2.into(),
    ));
    let gate = B::float_add_scalar(erf, 1f32.into());
    B::float_mul(B::float_mul_scalar(x, 0.5f32.into()), gate)
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
fn gelu_tanh<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let cube = B::float_mul(B::float_mul(x.clone(), x.clone()), x.clone());
    let inner = B::float_add(x.clone(), B::float_mul_scalar(cube, 0.044_715f32.into()));
    let inner = B::float_mul_scalar(inner, (2.0 / std::f64::consts::PI).sqrt().into());
    let gate = B::float_add_scalar(B::float_tanh(inner), 1f32.into());
    B::float_mul(B::float_mul_scalar(x, 0.5f32.into()), gate)
}

#[cfg(test)]
mod tests {
    use burn::backend::Dispatch;
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;

    #[test]
    fn blocks_of_images_equal_the_whole() {
        let device = Device::flex();
        let random =
            |tokens| Tensor::<4>::random([5, 2, tokens, 3], Distribution::Default, &device);
        let inputs = [random(7), random(4), random(4)];
        let attention = |bytes| {
            let mut blocks = Vec::new();
            let inputs = inputs.clone().map(Tensor::into_dispatch);
            let [all] = in_blocks_of::<Dispatch, 3, 1>(bytes, inputs, |[query, key, value]| {
                blocks.push(query.shape()[0]);
                let weights = attention_weights::<Dispatch>(query, key, false);
                [Dispatch::float_matmul(weights, value)]
            });
            (blocks, Tensor::<4>::from_dispatch(all).into_data())
        };
        let (blocks, whole) = attention(usize::MAX);
        assert_eq!(blocks, [5]);
        // The scores of an image are 2 x 7 x 4 numbers of 4 bytes.
        assert_eq!(attention(2 * 224 + 223), (vec![2, 2, 1], whole.clone()));
        assert_eq!(attention(0), (vec![1; 5], whole));
    }
}
