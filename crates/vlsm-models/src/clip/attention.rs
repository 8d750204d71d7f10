//! Multi-head self-attention.

use burn::backend::Dispatch;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::module::linear;
use burn::tensor::{Device, Tensor, activation};
use vlsm_kernels::{AttentionConfig, AttentionWeights, FrozenWeights, Normalisation};

use super::encoder::kernel;
use crate::kernel_weights::{set_precision, with_matrix};
use crate::methods::{Change, LayerAdapters, LayerPart, Projection, changed_linear};
use crate::precision::Precision;

/// Configuration of [`SelfAttention`].
#[derive(Debug, Clone)]
pub struct SelfAttentionConfig {
    /// Width of a token.
    pub width: usize,
    /// Number of heads; divides the width.
    pub heads: usize,
}

/// Scaled dot-product self-attention with separate projections, and the norm, adapter and residual around it in a layer.
#[derive(Module, Debug)]
pub struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    recompute: bool,
    /// The four matrices where they are in 8 bits or in half precision, else empty.
    #[module(skip)]
    frozen: Vec<FrozenWeights>,
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
            recompute: false,
            frozen: Vec::new(),
        }
    }
}

impl SelfAttention {
    /// See [`EncoderLayer::set_recompute`](super::EncoderLayer::set_recompute).
    pub(super) fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
    }

    /// See [`EncoderLayer::set_precision`](super::EncoderLayer::set_precision).
    pub(super) fn set_precision(&mut self, precision: Precision) {
        let layers = [
            &mut self.q_proj,
            &mut self.k_proj,
            &mut self.v_proj,
            &mut self.out_proj,
        ];
        let frozen = layers.map(|layer| set_precision(layer, precision));
        self.frozen = frozen.into_iter().flatten().collect();
    }

    /// `x + adapter(attention(norm(x)))`: `[batch, tokens, width]` to the same shape; `causal` hides later tokens from earlier
    /// ones.
    pub fn forward(
        &self,
        x: Tensor<3>,
        norm: Normalisation<Dispatch>,
        adapters: LayerAdapters<'_>,
        causal: bool,
    ) -> Tensor<3> {
        let mut frozen = self.frozen.iter();
        let [query, key, value, output] = self
            .projections(adapters)
            .map(|(linear, change)| with_matrix(changed_linear(linear, change), frozen.next()));
        let weights = AttentionWeights {
            query,
            key,
            value,
            output,
        };
        let adapter = kernel(adapters.attention);
        let config = AttentionConfig {
            heads: self.heads,
            causal,
            recompute: self.recompute,
        };
        vlsm_kernels::attention_sublayer(x, norm, weights, adapter, config)
    }

    /// The query, key, value and output projections, each with its change.
    fn projections<'a>(
        &'a self,
        adapters: LayerAdapters<'a>,
    ) -> [(&'a Linear, Option<&'a dyn Change>); 4] {
        [
            (&self.q_proj, Projection::Query),
            (&self.k_proj, Projection::Key),
            (&self.v_proj, Projection::Value),
            (&self.out_proj, Projection::Output),
        ]
        .map(|(linear, projection)| (linear, adapters.change(LayerPart::Linear(projection))))
    }

    /// `adapter(attention)` of tokens `[batch, readers, width]`. Each token attends to itself and to `memory` `[batch, keys,
    /// width]`; both are normalised. `bias` `[batch, heads, readers, keys]` is added to the scores of the memory. The result
    /// has the shape of the tokens.
    pub(super) fn read(
        &self,
        tokens: Tensor<3>,
        memory: Tensor<3>,
        bias: Tensor<4>,
        adapters: LayerAdapters<'_>,
    ) -> Tensor<3> {
        let [batch, readers, width] = tokens.dims();
        let [_, keys, _] = memory.dims();
        let split = |x: Tensor<3>, count| {
            x.reshape([batch, count, self.heads, width / self.heads])
                .swap_dims(1, 2)
        };
        let [to_query, to_key, to_value, output] =
            self.projections(adapters).map(|(layer, change)| {
                let (weight, bias) = changed_linear(layer, change);
                move |x: Tensor<3>| linear(x, weight.clone(), Some(bias.clone()))
            });
        let scale = ((width / self.heads) as f64).powf(-0.5);
        let query = split(to_query(tokens.clone()), readers) * scale;
        let own_key = split(to_key(tokens.clone()), readers);
        let own_value = split(to_value(tokens.clone()), readers);
        let key = split(to_key(memory.clone()), keys);
        let value = split(to_value(memory), keys);
        let scores = query.clone().matmul(key.transpose()) + bias;
        let own_score = (query * own_key).sum_dim(3);
        let weights = activation::softmax(Tensor::cat(vec![scores, own_score], 3), 3);
        let own_weight = weights.clone().narrow(3, keys, 1);
        let mixed = weights.narrow(3, 0, keys).matmul(value) + own_value * own_weight;
        let mixed = mixed.swap_dims(1, 2).reshape([batch, readers, width]);
        let output = output(mixed);
        match adapters.attention {
            Some(block) => block.after_sublayer(tokens, output),
            None => output,
        }
    }
}
