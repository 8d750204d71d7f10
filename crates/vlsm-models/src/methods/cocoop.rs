//! CoCoOp: learnt text tokens, shifted for each image by a network on its embedding (Zhou et al. 2022, "Conditional prompt learning for
//! vision-language models"), with the network of TuneVLSeg.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::prompts::{Context, WORDS, check, initialised, unpaired};
use super::sites::check_units;
use super::{Adaptation, BaseShape, Method, Pairing, Profile, Start, Tensors, Touches, Tower};
use crate::error::Result;

/// Method `cocoop`: learnt tokens in the text tower, to which an MLP adds a shift that it computes from CLIP's embedding of the image;
/// everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CocoopConfig {
    /// The number of tokens. Default 4, as in TuneVLSeg.
    pub tokens: usize,
    /// The number of layers, the first ones, that have tokens and an MLP of their own. Default 1, as in TuneVLSeg's configuration.
    pub depth: usize,
    /// Words that the first layer's tokens start from; empty for random ones. Default `"a photo of a"`.
    pub words: String,
    /// Hidden units of the MLP that computes a layer's shift. Default 64, as in TuneVLSeg.
    pub bottleneck: usize,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// Whether the decoder is trained along with the tokens. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for CocoopConfig {
    fn default() -> Self {
        Self {
            tokens: 4,
            depth: 1,
            words: WORDS.into(),
            bottleneck: 64,
            profile: Profile::Default,
            train_decoder: false,
            head: false,
        }
    }
}

impl CocoopConfig {
    /// The prompts for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<ConditionalPrompts> {
        if !base.pairs {
            return unpaired(base, "cocoop", "coop");
        }
        check(base, &[&base.text], self.tokens, self.depth, true)?;
        check_units("bottleneck", self.bottleneck)?;
        let widths = [base.projection, self.bottleneck, base.text.width];
        let shift = |_| Shift::new(widths, device);
        let prompts = ConditionalPrompts {
            context_learner: ConditionalContext {
                context: Context::new(self.depth, self.tokens, base.text.width, device),
                projection_layers: (0..self.depth).map(shift).collect(),
            },
            words: self.words.clone(),
            text_prefix: base.text.prefix.into(),
            train_decoder: self.train_decoder,
        };
        Ok(initialised(prompts, seed, &[".0.weight"], &[".3.weight"]))
    }
}

impl Method for CocoopConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("CoCoOp ({} tokens, depth {})", self.tokens, self.depth)
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn has_head(&self) -> bool {
        self.head
    }
}

/// A layer normalisation without a shift, with PyTorch's name.
#[derive(Module, Debug)]
pub struct NormScale {
    weight: Param<Tensor<1>>,
}

/// `norm(second(relu(first(x))))` from an image's embedding to a shift of tokens; only the first layer has a bias. Fields are numbered as
/// in the published module.
#[derive(Module, Debug)]
pub struct Shift {
    numbered_0: Linear,
    numbered_2: Linear,
    numbered_3: NormScale,
}

impl Shift {
    fn new([embedding, hidden, text]: [usize; 3], device: &Device) -> Self {
        Self {
            numbered_0: LinearConfig::new(embedding, hidden).init(device),
            numbered_2: LinearConfig::new(hidden, text)
                .with_bias(false)
                .init(device),
            numbered_3: NormScale {
                weight: Initializer::Ones.init([text], device),
            },
        }
    }

    /// `[images, embedding]` to `[images, text width]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = activation::relu(self.numbered_0.forward(x));
        let x = self.numbered_2.forward(x);
        let scale = self.numbered_3.weight.val();
        let none = scale.zeros_like();
        vlsm_kernels::layer_norm(x, scale, none, 1e-5)
    }
}

/// Text tokens, and the network of a shift for each layer.
#[derive(Module, Debug)]
pub struct ConditionalContext {
    context: Context,
    projection_layers: Vec<Shift>,
}

/// Learnt tokens of the text tower that depend on the image.
#[derive(Module, Debug)]
pub struct ConditionalPrompts {
    context_learner: ConditionalContext,
    #[module(skip)]
    words: String,
    #[module(skip)]
    text_prefix: String,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for ConditionalPrompts {
    fn touches(&self) -> Touches {
        Touches {
            vision: false,
            text: true,
            decoder: self.train_decoder,
        }
    }

    fn start(&self, base: &dyn Start) -> Result<Tensors> {
        self.context_learner
            .context
            .start(base, &self.text_prefix, &self.words)
    }

    fn extra_tokens(&self) -> usize {
        self.context_learner.context.count()
    }

    fn pairing(&self) -> Pairing {
        Pairing::Embedding
    }

    fn for_images(&self, embeddings: Tensor<2>) -> Option<Box<dyn Adaptation + '_>> {
        Some(Box::new(ForImages {
            learner: &self.context_learner,
            embeddings,
        }))
    }
}

/// The tokens for some images.
#[derive(Debug)]
struct ForImages<'a> {
    learner: &'a ConditionalContext,
    /// `[images, projection]`.
    embeddings: Tensor<2>,
}

impl Adaptation for ForImages<'_> {
    fn tokens(&self, tower: Tower, layer: usize) -> Option<Tensor<3>> {
        let tokens = match tower {
            Tower::Vision => None,
            Tower::Text => self.learner.context.of(layer),
        }?;
        let shift = self.learner.projection_layers.get(layer)?;
        let shift = shift.forward(self.embeddings.clone());
        Some(tokens + shift.unsqueeze_dim::<3>(1))
    }
}
