//! Operations of vision-language models with hand-written backward passes.
//!
//! Each is one node on the tape where a composition of Burn's operations would be many, keeps
//! little besides its inputs, and its gradient is computed in one pass. On the CPU backend they
//! run on slices; elsewhere the bodies in [`compose`] apply.

mod adamw;
pub mod allocator;
mod attention;
pub mod compose;
mod cpu;
mod flex;
mod layer_norm;
mod peak;
mod quick_gelu;
mod sublayer;

pub use adamw::AdamW;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
pub use peak::multiply_add_peak;
pub use sublayer::{
    Activation, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, Connection,
    LinearWeights, MlpWeights, Normalisation, Tape, recompute_activations,
};

/// What a backend does for this crate; every operation has a default body.
#[backend_extension(
    Flex,
    Cube: cfg(any(
        feature = "cuda",
        feature = "metal",
        feature = "rocm",
        feature = "vulkan",
        feature = "webgpu"
    )),
    Autodiff
)]
pub trait Kernels: Backend {
    /// See [`quick_gelu`].
    fn quick_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        compose::quick_gelu::<Self>(x)
    }

    /// The gradient at `x` of [`quick_gelu`], given that at its output.
    fn quick_gelu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        compose::quick_gelu_backward::<Self>(x, grad)
    }

    /// See [`layer_norm`].
    fn layer_norm_affine(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        Self::layer_norm(x, gamma, Some(beta), epsilon)
    }

    /// The gradient at `x` of [`layer_norm`], given that at its output.
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        compose::layer_norm_backward::<Self>(x, gamma, grad, epsilon)
    }

    /// Softmax over the last dimension.
    fn softmax_last(x: FloatTensor<Self>) -> FloatTensor<Self> {
        compose::softmax_last::<Self>(x)
    }

    /// `scale * w (g - sum(w g))` over the last dimension: the gradient at `x` of
    /// `softmax(scale * x)`, given its value `w` and the gradient `g` there.
    fn softmax_backward(
        weights: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        compose::softmax_backward::<Self>(weights, grad, scale)
    }

    /// See [`attention`].
    fn softmax_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        causal: bool,
    ) -> FloatTensor<Self> {
        compose::attention::<Self>(query, key, value, causal)
    }

    /// See [`adamw`].
    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rule: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        adamw::composed::<Self>(value, gradient, first, second, rule)
    }

    /// See [`attention_sublayer`].
    fn attention_sublayer(
        x: FloatTensor<Self>,
        #[extension_type] norm: Normalisation<Self>,
        #[extension_type] weights: AttentionWeights<Self>,
        #[extension_type] adapter: Adapter<Self>,
        config: AttentionConfig,
    ) -> FloatTensor<Self> {
        compose::attention_sublayer::<Self>(x, norm, weights, adapter, config)
    }

    /// See [`mlp_sublayer`].
    fn mlp_sublayer(
        x: FloatTensor<Self>,
        #[extension_type] norm: Normalisation<Self>,
        #[extension_type] weights: MlpWeights<Self>,
        #[extension_type] adapter: Adapter<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        compose::mlp_sublayer::<Self>(x, norm, weights, adapter, activation)
    }

    /// See [`adapter_block`].
    fn adapter_block(
        x: FloatTensor<Self>,
        #[extension_type] weights: MlpWeights<Self>,
        config: AdapterConfig,
    ) -> FloatTensor<Self> {
        compose::adapter_block::<Self>(x, weights, config)
    }
}

/// `x * sigmoid(1.702 x)`, the activation of OpenAI's CLIP (Hendrycks and Gimpel 2016).
///
/// Any shape to the same shape.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::quick_gelu(x.into_dispatch()))
}

/// Layer normalisation (Ba et al. 2016) over the last dimension, the variance with divisor n.
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
/// All are `[batch, heads, tokens, width]`. The attention weights are not kept for the backward
/// pass, which computes them anew.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, causal: bool) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::softmax_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        causal,
    ))
}

/// The attention sublayer of a transformer: `x + adapter(attention(norm(x)))`, the attention with its projections to queries,
/// keys and values and that of the output. With a parallel adapter it is `x + attention(norm(x)) + change(norm(x))`.
///
/// `x` is `[batch, tokens, width]`, as is the result. On the CPU it is one node on the tape, which keeps `x`, the projections,
/// two numbers for each query of a head, and the adapter's input and hidden units.
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

/// The MLP sublayer of a transformer: `x + adapter(contract(activation(expand(norm(x)))))`; with a parallel adapter see
/// [`attention_sublayer`].
///
/// `x` is `[batch, tokens, width]`, as is the result. On the CPU it is one node on the tape, which keeps `x`, the slopes of the
/// activation, in 16 bits, and the adapter's input and hidden units.
pub fn mlp_sublayer(
    x: Tensor<3>,
    norm: Normalisation<Dispatch>,
    weights: MlpWeights<Dispatch>,
    adapter: Adapter<Dispatch>,
    activation: Activation,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::mlp_sublayer(
        x.into_dispatch(),
        norm,
        weights,
        adapter,
        activation,
    ))
}

/// An [`Adapter`] block that stands alone. `x` is `[batch, tokens, width]`, as is the result.
pub fn adapter_block(
    x: Tensor<3>,
    weights: MlpWeights<Dispatch>,
    config: AdapterConfig,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::adapter_block(x.into_dispatch(), weights, config))
}

/// A step of AdamW for a parameter: its new value, and its first and second moment. All are of one shape; before the first step
/// the moments are 0.
///
/// On the CPU it is one pass, in place where nothing else holds the value or a moment.
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
