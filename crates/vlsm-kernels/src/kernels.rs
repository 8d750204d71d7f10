//! The operations that a backend implements.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use crate::ops::{
    AdamW, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, MlpConfig, MlpWeights,
    Normalisation,
};

/// The operations of this crate on a backend's tensors. [`compose`](crate::compose) has a body for each, made of the backend's
/// own operations.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "accelerator"),
    Autodiff
)]
pub trait Kernels: Backend {
    /// See [`quick_gelu`](crate::quick_gelu()).
    fn quick_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of [`quick_gelu`](crate::quick_gelu()) at its input `x`, given the gradient at its output.
    fn quick_gelu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`layer_norm`](crate::layer_norm()).
    fn layer_norm_affine(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// The gradient of [`layer_norm`](crate::layer_norm()) at its input `x`, given the gradient at its output.
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// Softmax over the last dimension.
    fn softmax_last(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `scale * w (g - sum(w g))` over the last dimension: the gradient of `softmax(scale * x)` at `x`, given its value `w`
    /// and the gradient `g` at its output.
    fn softmax_backward(
        weights: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self>;

    /// See [`attention`](crate::attention()).
    fn softmax_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        causal: bool,
    ) -> FloatTensor<Self>;

    /// See [`adamw`](crate::adamw()).
    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rule: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`attention_sublayer`](crate::attention_sublayer()).
    fn attention_sublayer(
        x: FloatTensor<Self>,
        #[extension_type] norm: Normalisation<Self>,
        #[extension_type] weights: AttentionWeights<Self>,
        #[extension_type] adapter: Adapter<Self>,
        config: AttentionConfig,
    ) -> FloatTensor<Self>;

    /// See [`mlp_sublayer`](crate::mlp_sublayer()).
    fn mlp_sublayer(
        x: FloatTensor<Self>,
        #[extension_type] norm: Normalisation<Self>,
        #[extension_type] weights: MlpWeights<Self>,
        #[extension_type] adapter: Adapter<Self>,
        config: MlpConfig,
    ) -> FloatTensor<Self>;

    /// See [`adapter_block`](crate::adapter_block()).
    fn adapter_block(
        x: FloatTensor<Self>,
        #[extension_type] weights: MlpWeights<Self>,
        config: AdapterConfig,
    ) -> FloatTensor<Self>;
}
