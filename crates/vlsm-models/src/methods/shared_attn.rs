//! Shared-Attn of TuneVLSeg: learnt tokens of both towers' widths together, which pass a transformer layer and are split.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::prompts::{Context, Norm, check, initialised, vision};
use super::sites::check_units;
use super::{Adaptation, BaseShape, Method, Profile, Touches, Tower, error};
use crate::error::Result;

/// Method `shared-attn`: learnt tokens for both towers at once, through a transformer layer; everything pretrained is frozen. TuneVLSeg's
/// dropout of 0.25 is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedAttnConfig {
    /// The number of tokens. Default 4, as in TuneVLSeg.
    pub tokens: usize,
    /// The number of layers, the first ones, that have tokens of their own. Default 1, as in TuneVLSeg's configuration.
    pub depth: usize,
    /// Hidden units of the transformer layer's MLP. Default 1536, as in TuneVLSeg.
    pub bottleneck: usize,
    /// Attention heads of the transformer layer; must divide the sum of the towers' widths. Default 16, as in TuneVLSeg.
    pub heads: usize,
    /// Which arithmetic is used: in `paper`, as in the published code, each token attends to itself alone; in `default` to all
    /// tokens of its layer. Default `"default"`.
    pub profile: Profile,
    /// Whether the decoder is trained along with the tokens. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for SharedAttnConfig {
    fn default() -> Self {
        Self {
            tokens: 4,
            depth: 1,
            bottleneck: 1536,
            heads: 16,
            profile: Profile::Default,
            train_decoder: false,
            head: false,
        }
    }
}

impl SharedAttnConfig {
    /// The prompts for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<AttendingPrompts> {
        let tower = vision(base, "shared-attn")?;
        check(base, &[tower, &base.text], self.tokens, self.depth, true)?;
        check_units("bottleneck", self.bottleneck)?;
        let width = base.text.width + tower.width;
        if self.heads == 0 || !width.is_multiple_of(self.heads) {
            return error(format!(
                "`heads` is {}; it must divide {width}, the sum of the widths of the text tower ({}) and the vision tower ({})",
                self.heads, base.text.width, tower.width
            ));
        }
        let alone = self.profile == Profile::Paper;
        let layer = |_| SharedLayer::new(width, self.bottleneck, self.heads, alone, device);
        let prompts = AttendingPrompts {
            context_learner: AttendingContext {
                context: Context::new(self.depth, self.tokens, width, device),
                projection_layers: (0..self.depth).map(layer).collect(),
            },
            text_width: base.text.width,
            train_decoder: self.train_decoder,
        };
        Ok(initialised(
            prompts,
            seed,
            &[],
            &[
                "norm1.weight",
                "norm1.bias",
                "norm2.weight",
                "norm2.bias",
                "in_proj_bias",
                "out_proj.bias",
            ],
        ))
    }
}

impl Method for SharedAttnConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("Shared-Attn ({} tokens, depth {})", self.tokens, self.depth)
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn has_head(&self) -> bool {
        self.head
    }
}

/// Multi-head attention with PyTorch's names.
#[derive(Module, Debug)]
pub struct SharedAttention {
    /// Queries, keys and values, `[3 width, width]` as in PyTorch.
    in_proj_weight: Param<Tensor<2>>,
    in_proj_bias: Param<Tensor<1>>,
    out_proj: Linear,
}

/// A transformer layer that normalises before attention and MLP, with the names of PyTorch's `TransformerEncoderLayer`.
#[derive(Module, Debug)]
pub struct SharedLayer {
    self_attn: SharedAttention,
    linear1: Linear,
    linear2: Linear,
    norm1: Norm,
    norm2: Norm,
    #[module(skip)]
    heads: usize,
    /// Whether tokens attend to themselves alone: the published code takes a layer's tokens for a batch of sequences.
    #[module(skip)]
    alone: bool,
}

impl SharedLayer {
    fn new(width: usize, hidden: usize, heads: usize, alone: bool, device: &Device) -> Self {
        let zeros = Initializer::Zeros;
        Self {
            self_attn: SharedAttention {
                in_proj_weight: zeros.init([3 * width, width], device),
                in_proj_bias: zeros.init([3 * width], device),
                out_proj: LinearConfig::new(width, width)
                    .with_initializer(zeros)
                    .init(device),
            },
            linear1: LinearConfig::new(width, hidden).init(device),
            linear2: LinearConfig::new(hidden, width).init(device),
            norm1: Norm::new(width, device),
            norm2: Norm::new(width, device),
            heads,
            alone,
        }
    }

    /// `[tokens, width]` to the same shape.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = x.clone() + self.attend(self.norm1.forward(x));
        let hidden = activation::relu(self.linear1.forward(self.norm2.forward(x.clone())));
        x + self.linear2.forward(hidden)
    }

    fn attend(&self, x: Tensor<2>) -> Tensor<2> {
        let [tokens, width] = x.dims();
        let attention = &self.self_attn;
        let weight = attention.in_proj_weight.val().transpose();
        let all = x.matmul(weight) + attention.in_proj_bias.val().unsqueeze::<2>();
        // [heads, tokens, width of a head]
        let part = |index: usize| {
            let part = all.clone().narrow(1, index * width, width);
            let split = part.reshape([tokens, self.heads, width / self.heads]);
            split.swap_dims(0, 1)
        };
        let value = part(2);
        let mixed = if self.alone {
            // The weight of the only token is 1, whatever queries and keys are.
            value
        } else {
            let scale = ((width / self.heads) as f64).powf(-0.5);
            let scores = part(0).matmul(part(1).transpose()) * scale;
            activation::softmax(scores, 2).matmul(value)
        };
        let mixed = mixed.swap_dims(0, 1).reshape([tokens, width]);
        attention.out_proj.forward(mixed)
    }
}

/// Shared tokens, and a transformer layer for each layer of the towers that has tokens.
#[derive(Module, Debug)]
pub struct AttendingContext {
    context: Context,
    projection_layers: Vec<SharedLayer>,
}

/// Learnt tokens whose first part is for the text tower and the rest for the vision tower.
#[derive(Module, Debug)]
pub struct AttendingPrompts {
    context_learner: AttendingContext,
    #[module(skip)]
    text_width: usize,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for AttendingPrompts {
    fn touches(&self) -> Touches {
        Touches {
            vision: true,
            text: true,
            decoder: self.train_decoder,
        }
    }

    fn tokens(&self, tower: Tower, layer: usize) -> Option<Tensor<3>> {
        let learner = &self.context_learner;
        let tokens = learner.context.of(layer)?;
        let tokens = tokens.squeeze_dim(0);
        let tokens = learner.projection_layers.get(layer)?.forward(tokens);
        let tokens = tokens.unsqueeze::<3>();
        let [_, _, width] = tokens.dims();
        Some(match tower {
            Tower::Text => tokens.narrow(2, 0, self.text_width),
            Tower::Vision => tokens.narrow(2, self.text_width, width - self.text_width),
        })
    }
}
