//! The kernels of the CPU backend: forward and backward on slices, in tiles that the compiler turns into vector instructions.

mod activation;
mod adamw;
mod adapter;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp;
mod gradient;
mod half;
mod head_view;
mod heads;
mod int8;
mod isa;
mod linear;
mod mlp;
mod norm;
mod panels;
mod peak;
mod product;
mod rowwise;
mod sublayer;
mod sublayer_core;
mod sublayer_tensors;
mod tensors;
mod tile;

use burn::backend::Flex;
use burn_flex::FlexTensor;

use crate::compose;
use crate::kernels::Kernels;
use crate::ops::{
    AdamW, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, MlpConfig, MlpWeights,
    Normalisation,
};

pub(crate) use half::{HalfLane, from_half, to_half};
pub(crate) use sublayer::{ParameterGrads, SavedTensors};
pub(crate) use sublayer_core::{NeededGrads, Save};
pub(crate) use sublayer_tensors::{SublayerKind, SublayerTensors, fits};
pub(crate) use tensors::{from_values, values};

impl Kernels for Flex {
    fn quick_gelu(x: FlexTensor) -> FlexTensor {
        rowwise::quick_gelu(x)
    }

    fn quick_gelu_backward(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
        rowwise::quick_gelu_backward(x, grad)
    }

    fn layer_norm_affine(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        compose::layer_norm::<Self>(x, gamma, beta, epsilon)
    }

    fn layer_norm_backward(
        x: FlexTensor,
        gamma: FlexTensor,
        grad: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        rowwise::layer_norm_backward(x, gamma, grad, epsilon)
    }

    fn softmax_last(x: FlexTensor) -> FlexTensor {
        rowwise::softmax(x)
    }

    fn softmax_backward(weights: FlexTensor, grad: FlexTensor, scale: f32) -> FlexTensor {
        rowwise::softmax_backward(weights, grad, scale)
    }

    fn softmax_attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        causal: bool,
    ) -> FlexTensor {
        compose::attention::<Self>(query, key, value, causal)
    }

    fn adamw(
        value: FlexTensor,
        gradient: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        rule: AdamW,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        adamw::adamw(value, gradient, first, second, rule)
    }

    fn attention_sublayer(
        x: FlexTensor,
        norm: Normalisation<Self>,
        weights: AttentionWeights<Self>,
        adapter: Adapter<Self>,
        config: AttentionConfig,
    ) -> FlexTensor {
        if fits(&x, &norm, &weights.layers(), &adapter) {
            SublayerTensors::new(config, norm, weights.into_layers(), adapter).forward(x)
        } else {
            compose::attention_sublayer::<Self>(x, norm, weights, adapter, config)
        }
    }

    fn mlp_sublayer(
        x: FlexTensor,
        norm: Normalisation<Self>,
        weights: MlpWeights<Self>,
        adapter: Adapter<Self>,
        config: MlpConfig,
    ) -> FlexTensor {
        if fits(&x, &norm, &weights.layers(), &adapter) {
            SublayerTensors::new(config, norm, weights.into_layers(), adapter).forward(x)
        } else {
            compose::mlp_sublayer::<Self>(x, norm, weights, adapter, config)
        }
    }

    fn adapter_block(
        x: FlexTensor,
        weights: MlpWeights<Self>,
        config: AdapterConfig,
    ) -> FlexTensor {
        let (norm, adapter) = (Normalisation::None, Adapter::None);
        if fits(&x, &norm, &weights.layers(), &adapter) {
            SublayerTensors::new(config, norm, weights.into_layers(), adapter).forward(x)
        } else {
            compose::adapter_block::<Self>(x, weights, config)
        }
    }
}
