//! The accelerators' backends, which run the compositions.

use burn::backend::tensor::FloatTensor;
use burn_cubecl::Cube;
use burn_cubecl::cubecl::config::cache::CacheConfig;
use burn_cubecl::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

use crate::compose;
use crate::kernels::Kernels;
use crate::ops::{
    AdamW, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, MlpConfig, MlpWeights,
    Normalisation,
};
use crate::tape::Tape;

/// Keeps compiled kernels and autotune's choices in the user's cache folder, so that only a machine's first run compiles and
/// tunes, which takes minutes. A `cubecl.toml` in the working folder, or in one above it, can name another folder. Has no effect
/// after the first use of an accelerator.
pub fn keep_compiled_kernels() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    if let CacheConfig::Target = config.environment.path {
        config.environment.path = CacheConfig::Global;
    }
    CubeClRuntimeConfig::try_set(config);
}

impl Tape for Cube {}

impl Kernels for Cube {
    fn quick_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        compose::quick_gelu::<Self>(x)
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
        compose::layer_norm::<Self>(x, gamma, beta, epsilon)
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
        compose::attention::<Self>(query, key, value, causal)
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
        compose::attention_sublayer::<Self>(x, norm, weights, adapter, config)
    }

    fn mlp_sublayer(
        x: FloatTensor<Self>,
        norm: Normalisation<Self>,
        weights: MlpWeights<Self>,
        adapter: Adapter<Self>,
        config: MlpConfig,
    ) -> FloatTensor<Self> {
        compose::mlp_sublayer::<Self>(x, norm, weights, adapter, config)
    }

    fn adapter_block(
        x: FloatTensor<Self>,
        weights: MlpWeights<Self>,
        config: AdapterConfig,
    ) -> FloatTensor<Self> {
        compose::adapter_block::<Self>(x, weights, config)
    }
}
