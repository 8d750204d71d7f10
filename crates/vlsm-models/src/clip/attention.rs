//! Multi-head self-attention.

use burn::backend::Dispatch;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use vlsm_kernels::{Adapter, AttentionConfig, AttentionWeights, Normalisation};

use crate::linear;

/// Configuration of [`SelfAttention`].
#[derive(Debug, Clone)]
pub struct SelfAttentionConfig {
    /// Width of a token.
    pub width: usize,
    /// Number of heads; divides the width.
    pub heads: usize,
}

/// Scaled dot-product self-attention with separate projections, and what stands around it in a layer.
#[derive(Module, Debug)]
pub struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl SelfAttentionConfig {
    /// Makes the layer; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> SelfAttention {
        let linear = || LinearConfig::new(self.width, self.width).init(device);
        SelfAttention {
            q_proj: linear(),
            k_proj: linear(),
            v_proj: linear(),
            out_proj: linear(),
            heads: self.heads,
        }
    }
}

impl SelfAttention {
    /// `x + adapter(attention(norm(x)))`: `[batch, tokens, width]` to the same shape; `causal` hides later tokens from earlier
    /// ones.
    pub fn forward(
        &self,
        x: Tensor<3>,
        norm: Normalisation<Dispatch>,
        adapter: Adapter<Dispatch>,
        causal: bool,
    ) -> Tensor<3> {
        let weights = AttentionWeights {
            query: linear::weights(&self.q_proj),
            key: linear::weights(&self.k_proj),
            value: linear::weights(&self.v_proj),
            output: linear::weights(&self.out_proj),
        };
        let config = AttentionConfig {
            heads: self.heads,
            causal,
        };
        vlsm_kernels::attention_sublayer(x, norm, weights, adapter, config)
    }
}
