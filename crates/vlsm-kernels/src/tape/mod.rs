//! The autodiff nodes of the operations.

mod attention;
mod layer_norm;
mod quick_gelu;
mod sublayer;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;

use crate::compose;
use crate::kernels::Kernels;
use crate::ops::{
    AdamW, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, MlpConfig, MlpWeights,
    Normalisation,
};

/// The sublayers of a backend under autodiff. By default they are composed, with one node for each operation in them.
pub trait Tape: Kernels {
    /// [`Kernels::attention_sublayer`] under autodiff.
    fn attention_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: AttentionWeights<Autodiff<Self, C>>,
        adapter: Adapter<Autodiff<Self, C>>,
        config: AttentionConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::attention_sublayer::<Autodiff<Self, C>>(x, norm, weights, adapter, config)
    }

    /// [`Kernels::mlp_sublayer`] under autodiff.
    fn mlp_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        adapter: Adapter<Autodiff<Self, C>>,
        config: MlpConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::mlp_sublayer::<Autodiff<Self, C>>(x, norm, weights, adapter, config)
    }

    /// [`Kernels::adapter_block`] under autodiff.
    fn adapter_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        config: AdapterConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::adapter_block::<Autodiff<Self, C>>(x, weights, config)
    }
}

impl<B: Tape, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn quick_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        quick_gelu::forward::<B, C>(x)
    }

    fn quick_gelu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        compose::quick_gelu_backward::<Self>(x, grad)
    }

    fn layer_norm_affine(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::forward::<B, C>(x, gamma, beta, epsilon)
    }

    fn layer_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        compose::layer_norm_backward::<Self>(x, gamma, grad, epsilon)
    }

    fn softmax_last(x: FloatTensor<Self>) -> FloatTensor<Self> {
        compose::softmax_last::<Self>(x)
    }

    fn softmax_backward(
        weights: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        compose::softmax_backward::<Self>(weights, grad, scale)
    }

    fn softmax_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        causal: bool,
    ) -> FloatTensor<Self> {
        attention::forward::<B, C>(query, key, value, causal)
    }

    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rule: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        compose::adamw::<Self>(value, gradient, first, second, rule)
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
        config: MlpConfig,
    ) -> FloatTensor<Self> {
        B::mlp_on_tape::<C>(x, norm, weights, adapter, config)
    }

    fn adapter_block(
        x: FloatTensor<Self>,
        weights: MlpWeights<Self>,
        config: AdapterConfig,
    ) -> FloatTensor<Self> {
        B::adapter_on_tape::<C>(x, weights, config)
    }
}
