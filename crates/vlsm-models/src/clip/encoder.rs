//! The transformer layers of towers and decoder.

use burn::backend::Dispatch;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use vlsm_kernels::{Adapter, FrozenWeights, MlpWeights, Normalisation};

use super::config::{TextConfig, VisionConfig};
use super::{LayerNorm, SelfAttention, SelfAttentionConfig};
use crate::activation::Activation;
use crate::device::is_cpu;
use crate::kernel_weights::{set_precision, with_matrix};
use crate::methods::{AdapterBlock, LayerAdapters, LayerPart, Projection, changed_linear};
use crate::precision::Precision;

/// Configuration of an [`Mlp`].
#[derive(Debug, Clone)]
pub struct MlpConfig {
    /// Width of a token.
    pub width: usize,
    /// Width between the two layers.
    pub hidden: usize,
    /// Activation between the two layers.
    pub activation: Activation,
}

/// `fc2(activation(fc1(x)))`, and the norm, adapter and residual around it in a layer.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    recompute: bool,
    /// The two matrices where they are in 8 bits or in half precision, else empty.
    #[module(skip)]
    frozen: Vec<FrozenWeights>,
}

impl MlpConfig {
    /// Makes the layer; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> Mlp {
        Mlp {
            fc1: LinearConfig::new(self.width, self.hidden).init(device),
            fc2: LinearConfig::new(self.hidden, self.width).init(device),
            activation: self.activation,
            recompute: false,
            frozen: Vec::new(),
        }
    }
}

impl Mlp {
    /// `x + adapter(mlp(norm(x)))`: `[batch, tokens, width]` to the same shape.
    pub fn forward(
        &self,
        x: Tensor<3>,
        norm: Normalisation<Dispatch>,
        adapters: LayerAdapters<'_>,
    ) -> Tensor<3> {
        let mut frozen = self.frozen.iter();
        let mut weights = |linear, projection| {
            let change = adapters.change(LayerPart::Linear(projection));
            with_matrix(changed_linear(linear, change), frozen.next())
        };
        let weights = MlpWeights {
            expand: weights(&self.fc1, Projection::Fc1),
            contract: weights(&self.fc2, Projection::Fc2),
        };
        let adapter = kernel(adapters.mlp);
        let config = vlsm_kernels::MlpConfig {
            activation: self.activation.into(),
            recompute: self.recompute,
        };
        vlsm_kernels::mlp_sublayer(x, norm, weights, adapter, config)
    }
}

/// Configuration of an [`EncoderLayer`].
#[derive(Debug, Clone)]
pub struct EncoderLayerConfig {
    /// Width of a token.
    pub width: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of the MLP.
    pub hidden: usize,
    /// Activation of the MLP.
    pub activation: Activation,
    /// Epsilon of the layer norms.
    pub epsilon: f64,
}

/// A transformer layer: attention and MLP with residuals. CLIP's towers normalise before each
/// ([`forward`](Self::forward)), CLIPSeg's decoder and BERT after ([`forward_post_norm`](Self::forward_post_norm)).
#[derive(Module, Debug)]
pub struct EncoderLayer {
    layer_norm1: LayerNorm,
    self_attn: SelfAttention,
    layer_norm2: LayerNorm,
    mlp: Mlp,
}

impl EncoderLayerConfig {
    /// Makes the layer; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> EncoderLayer {
        let norm = || LayerNorm::new(self.width, self.epsilon, device);
        EncoderLayer {
            layer_norm1: norm(),
            self_attn: SelfAttentionConfig {
                width: self.width,
                heads: self.heads,
            }
            .init(device),
            layer_norm2: norm(),
            mlp: MlpConfig {
                width: self.width,
                hidden: self.hidden,
                activation: self.activation,
            }
            .init(device),
        }
    }
}

impl EncoderLayer {
    /// Whether the layer saves only the inputs of its two sublayers for the backward pass and computes their activations
    /// again there: less memory, slower, the same numbers. Off by default.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.self_attn.set_recompute(recompute);
        self.mlp.recompute = recompute;
    }

    /// Puts the matrices, which must not be trained from here on, in another precision. In 8 bits and in half precision they
    /// must not be changed either. [`forward_reading`](Self::forward_reading) then does not work.
    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.self_attn.set_precision(precision);
        let layers = [&mut self.mlp.fc1, &mut self.mlp.fc2];
        let frozen = layers.map(|layer| set_precision(layer, precision));
        self.mlp.frozen = frozen.into_iter().flatten().collect();
    }

    /// `[batch, tokens, width]` to the same shape; dense adapters work on the attention and on the MLP, each before the
    /// residual addition.
    pub fn forward(&self, x: Tensor<3>, causal: bool, adapters: LayerAdapters<'_>) -> Tensor<3> {
        let norm1 = adapters.change(LayerPart::Norm1);
        let norm = self.layer_norm1.of_sublayer(norm1);
        let x = self.self_attn.forward(x, norm, adapters, causal);
        let norm = self
            .layer_norm2
            .of_sublayer(adapters.change(LayerPart::Norm2));
        self.mlp.forward(x, norm, adapters)
    }

    /// The layer for extra tokens that only read. Each of them attends to itself and to `memory`, the input of this layer. No
    /// token of the memory attends to them, so they do not change the layer's output.
    ///
    /// `tokens` are `[batch, readers, width]`, as is the result; `memory` is `[batch, keys, width]`; `bias`, added to the
    /// attention scores, `[batch, heads, readers, keys]`. `adapters` are those of the layer.
    pub fn forward_reading(
        &self,
        tokens: Tensor<3>,
        memory: Tensor<3>,
        bias: Tensor<4>,
        adapters: LayerAdapters<'_>,
    ) -> Tensor<3> {
        let norm = |x| {
            let change = adapters.change(LayerPart::Norm1);
            self.layer_norm1.forward_changed(x, change)
        };
        let (input, memory) = (norm(tokens.clone()), norm(memory));
        let y = self.self_attn.read(input, memory, bias, adapters);
        let norm = self
            .layer_norm2
            .of_sublayer(adapters.change(LayerPart::Norm2));
        self.mlp.forward(tokens + y, norm, adapters)
    }

    /// The post-norm order of CLIPSeg's decoder and of BERT. `[batch, tokens, width]` to the same shape; adapters as in
    /// [`forward`](Self::forward).
    pub fn forward_post_norm(&self, x: Tensor<3>, adapters: LayerAdapters<'_>) -> Tensor<3> {
        let none = Normalisation::None;
        let x = self.self_attn.forward(x, none, adapters, false);
        let change = |part| adapters.change(part);
        let x = self
            .layer_norm1
            .forward_changed(x, change(LayerPart::Norm1));
        let x = self.mlp.forward(x, Normalisation::None, adapters);
        self.layer_norm2
            .forward_changed(x, change(LayerPart::Norm2))
    }
}

/// A sublayer's block, as the sublayer kernels take it.
pub(super) fn kernel(block: Option<&AdapterBlock>) -> Adapter<Dispatch> {
    block.map_or(Adapter::None, AdapterBlock::kernel)
}

/// Configuration of an [`Encoder`].
#[derive(Debug, Clone)]
pub struct EncoderConfig {
    /// Each layer's configuration.
    pub layer: EncoderLayerConfig,
    /// Number of layers.
    pub layers: usize,
}

/// A stack of [`EncoderLayer`]s.
#[derive(Module, Debug)]
pub struct Encoder {
    /// The layers, first to last.
    pub layers: Vec<EncoderLayer>,
}

impl Encoder {
    /// See [`EncoderLayer::set_recompute`].
    pub fn set_recompute(&mut self, recompute: bool) {
        for layer in &mut self.layers {
            layer.set_recompute(recompute);
        }
    }

    /// See [`EncoderLayer::set_precision`].
    pub(crate) fn set_precision(&mut self, precision: Precision) {
        let cpu = self.devices().iter().all(is_cpu);
        if cpu {
            let layers = self.layers.par_iter_mut();
            layers.for_each(|layer| layer.set_precision(precision));
        } else {
            // On accelerators each thread has a queue of its own.
            let layers = self.layers.iter_mut();
            layers.for_each(|layer| layer.set_precision(precision));
        }
    }
}

impl EncoderConfig {
    /// Makes the stack; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> Encoder {
        Encoder {
            layers: (0..self.layers).map(|_| self.layer.init(device)).collect(),
        }
    }
}

impl From<&VisionConfig> for EncoderConfig {
    fn from(config: &VisionConfig) -> Self {
        Self {
            layer: EncoderLayerConfig {
                width: config.hidden_size,
                heads: config.num_attention_heads,
                hidden: config.intermediate_size,
                activation: config.hidden_act,
                epsilon: config.layer_norm_eps,
            },
            layers: config.num_hidden_layers,
        }
    }
}

impl From<&TextConfig> for EncoderConfig {
    fn from(config: &TextConfig) -> Self {
        Self {
            layer: EncoderLayerConfig {
                width: config.hidden_size,
                heads: config.num_attention_heads,
                hidden: config.intermediate_size,
                activation: config.hidden_act,
                epsilon: config.layer_norm_eps,
            },
            layers: config.num_hidden_layers,
        }
    }
}
