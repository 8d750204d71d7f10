//! Multi-head self-attention.

use burn::backend::{Dispatch, DispatchTensor};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use vlsm_kernels::AttentionWeights;

use super::LayerNorm;

/// Configuration of [`SelfAttention`].
#[derive(Debug, Clone)]
pub struct SelfAttentionConfig {
    /// Width of a token.
    pub width: usize,
    /// Number of heads; divides the width.
    pub heads: usize,
}

/// Scaled dot-product self-attention with separate projections.
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
    /// `[batch, tokens, width]` to the same shape; `causal` hides later tokens from earlier ones.
    pub fn forward(&self, x: Tensor<3>, causal: bool) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let split = |x: Tensor<3>| {
            x.reshape([batch, tokens, self.heads, width / self.heads])
                .swap_dims(1, 2)
        };
        let query = split(self.q_proj.forward(x.clone()));
        let key = split(self.k_proj.forward(x.clone()));
        let value = split(self.v_proj.forward(x));
        let mixed = vlsm_kernels::attention(query, key, value, causal)
            .swap_dims(1, 2)
            .reshape([batch, tokens, width]);
        self.out_proj.forward(mixed)
    }

    /// This layer behind a normalisation, `[batch, tokens, width]` to the same shape. In one operation where all weights are
    /// constant.
    pub(super) fn forward_normalised(
        &self,
        norm: &LayerNorm,
        x: Tensor<3>,
        causal: bool,
    ) -> Tensor<3> {
        match self.constant_weights(norm) {
            Some(weights) => {
                vlsm_kernels::frozen_attention(x, weights, self.heads, causal, norm.epsilon())
            }
            None => self.forward(norm.forward(x), causal),
        }
    }

    fn constant_weights(&self, norm: &LayerNorm) -> Option<AttentionWeights<Dispatch>> {
        let [gamma, beta] = norm.constant()?;
        let [query, query_bias] = constant(&self.q_proj)?;
        let [key, key_bias] = constant(&self.k_proj)?;
        let [value, value_bias] = constant(&self.v_proj)?;
        let [output, output_bias] = constant(&self.out_proj)?;
        Some(AttentionWeights {
            gamma,
            beta,
            query,
            query_bias,
            key,
            key_bias,
            value,
            value_bias,
            output,
            output_bias,
        })
    }
}

/// Weights and bias of a layer that is not trained.
pub(super) fn constant(linear: &Linear) -> Option<[DispatchTensor; 2]> {
    let weight = linear.weight.val();
    let bias = linear.bias.as_ref()?.val();
    let constant = !weight.is_require_grad() && !bias.is_require_grad();
    constant.then(|| [weight.into_dispatch(), bias.into_dispatch()])
}
