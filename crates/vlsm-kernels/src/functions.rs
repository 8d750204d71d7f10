//! The operations on [`Tensor`]s, dispatched to the backend of their device.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::compose;
use crate::kernels::Kernels;
use crate::ops::{
    AdamW, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, MlpConfig, MlpWeights,
    Normalisation,
};

/// `x * sigmoid(1.702 x)`, the activation of OpenAI's CLIP (Hendrycks and Gimpel 2016).
///
/// Any shape to the same shape.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::quick_gelu(x.into_dispatch()))
}

/// `x / 2 (1 + erf(x / sqrt(2)))`, the Gaussian error linear unit (Hendrycks and Gimpel 2016).
///
/// Any shape to the same shape.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(compose::gelu::<Dispatch>(x.into_dispatch()))
}

/// Layer normalisation (Ba et al. 2016) over the last dimension, with the biased variance (divisor n).
///
/// `x` is `[..., width]`, `gamma` and `beta` are `[width]`; the result has the shape of `x`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::layer_norm_affine(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon,
    ))
}

/// `softmax(q k^T / sqrt(width)) v` of each head; `causal` hides later tokens from earlier ones.
///
/// All are `[batch, heads, tokens, width]`. The attention weights are not saved for the backward pass, which computes them
/// again.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, causal: bool) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::softmax_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        causal,
    ))
}

/// The attention sublayer of a transformer: `x + adapter(attention(norm(x)))`, where the attention includes the projections to
/// queries, keys and values and that of the output. With a parallel adapter it is `x + attention(norm(x)) + change(norm(x))`.
///
/// `x` is `[batch, tokens, width]`, as is the result. On the CPU this is one autodiff node, which saves `x`, the projections,
/// two numbers for each query of a head, and the adapter's input and hidden units; with [`AttentionConfig::recompute`] only
/// `x`.
pub fn attention_sublayer(
    x: Tensor<3>,
    norm: Normalisation<Dispatch>,
    weights: AttentionWeights<Dispatch>,
    adapter: Adapter<Dispatch>,
    config: AttentionConfig,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::attention_sublayer(
        x.into_dispatch(),
        norm,
        weights,
        adapter,
        config,
    ))
}

/// The MLP sublayer of a transformer: `x + adapter(contract(activation(expand(norm(x)))))`. For a parallel adapter see
/// [`attention_sublayer`].
///
/// `x` is `[batch, tokens, width]`, as is the result. On the CPU this is one autodiff node, which saves `x`, the slopes of the
/// activation in 16 bits, and the adapter's input and hidden units; with [`MlpConfig::recompute`] only `x`.
pub fn mlp_sublayer(
    x: Tensor<3>,
    norm: Normalisation<Dispatch>,
    weights: MlpWeights<Dispatch>,
    adapter: Adapter<Dispatch>,
    config: MlpConfig,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::mlp_sublayer(
        x.into_dispatch(),
        norm,
        weights,
        adapter,
        config,
    ))
}

/// An [`Adapter`] block without a sublayer. `x` is `[batch, tokens, width]`, as is the result. On the CPU this is one autodiff
/// node, which saves `x`, the hidden units and the slopes of the activation in 16 bits.
pub fn adapter_block(
    x: Tensor<3>,
    weights: MlpWeights<Dispatch>,
    config: AdapterConfig,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::adapter_block(x.into_dispatch(), weights, config))
}

/// An AdamW step for one parameter: returns its new value and its new first and second moment. All have one shape; before the
/// first step the moments are 0.
///
/// On the CPU this is one pass, in place where the value or a moment has no other owner.
pub fn adamw<const D: usize>(
    value: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<D>; 2],
    rule: AdamW,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let [first, second] = moments.map(Tensor::into_dispatch);
    let (value, gradient) = (value.into_dispatch(), gradient.into_dispatch());
    let (value, first, second) = Dispatch::adamw(value, gradient, first, second, rule);
    let moments = [first, second].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(value), moments)
}
