//! The accelerators' backends: kernels in CubeCL for what Burn composes of many, and the compositions.

#[cfg(not(feature = "fusion"))]
mod elementwise;
#[cfg(not(feature = "fusion"))]
mod rowwise;

#[cfg(not(feature = "fusion"))]
use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
#[cfg(not(feature = "fusion"))]
use burn::tensor::DType;
use burn::tensor::Device;
use burn_cubecl::Cube;
use burn_cubecl::cubecl::config::cache::CacheConfig;
use burn_cubecl::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
#[cfg(not(feature = "fusion"))]
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
#[cfg(not(feature = "fusion"))]
use burn_cubecl::tensor::CubeTensor;
use burn_dispatch::DispatchDevice;

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

/// The memory of an accelerator in bytes, as its driver states it; none on the CPU, or if the driver does not.
pub fn device_memory(device: &Device) -> Option<u64> {
    match device.clone().without_autodiff().as_dispatch() {
        DispatchDevice::Cube(cube) => cube.client().properties().memory.max_memory(),
        _ => None,
    }
}

/// A kernel for tensors in f32, else the composition. With fusion, which makes its own kernels of Burn's operations, always the
/// composition.
macro_rules! kernel {
    ($module:ident::$name:ident($first:ident $(, $more:ident)*)) => {{
        #[cfg(not(feature = "fusion"))]
        if $first.dtype() == DType::F32 {
            return $module::$name($first $(, $more)*);
        }
        compose::$name::<Self>($first $(, $more)*)
    }};
}

impl Tape for Cube {}

impl Kernels for Cube {
    fn quick_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        kernel!(elementwise::quick_gelu(x))
    }

    fn quick_gelu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        kernel!(elementwise::quick_gelu_backward(x, grad))
    }

    fn layer_norm_affine(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        kernel!(rowwise::layer_norm(x, gamma, beta, epsilon))
    }

    fn layer_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        kernel!(rowwise::layer_norm_backward(x, gamma, grad, epsilon))
    }

    fn softmax_last(x: FloatTensor<Self>) -> FloatTensor<Self> {
        kernel!(rowwise::softmax_last(x))
    }

    fn softmax_backward(
        weights: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        kernel!(rowwise::softmax_backward(weights, grad, scale))
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
        kernel!(elementwise::adamw(value, gradient, first, second, rule))
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

/// A tensor of the shape of another, with any values.
#[cfg(not(feature = "fusion"))]
fn empty_like(x: &CubeTensor) -> CubeTensor {
    empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), x.shape(), x.dtype)
}
