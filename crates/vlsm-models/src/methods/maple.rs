//! MaPLe: learnt tokens in the text tower, from which those of the vision tower are computed (Khattak et al. 2023, "Maple: Multi-modal
//! prompt learning"), with the coupling of TuneVLSeg.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::prompts::{Context, Norm, WORDS, check, initialised, vision};
use super::sites::check_units;
use super::{Adaptation, BaseShape, Method, Profile, Start, Tensors, Touches, Tower};
use crate::error::Result;

/// Method `maple`: learnt tokens in the text tower, and tokens in the vision tower that are computed from them; everything pretrained
/// is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MapleConfig {
    /// The number of tokens. Default 4, as in TuneVLSeg.
    pub tokens: usize,
    /// The number of layers, the first ones, that have tokens of their own. Default 1, as in TuneVLSeg's configuration.
    pub depth: usize,
    /// Words that the first layer's tokens start from; empty for random ones. Default `"a photo of a"`.
    pub words: String,
    /// Hidden units of the MLP that computes a layer's vision tokens. Default 64, as in TuneVLSeg.
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

impl Default for MapleConfig {
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

impl MapleConfig {
    /// The prompts for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<CoupledPrompts> {
        let tower = vision(base, "maple")?;
        check(base, &[tower, &base.text], self.tokens, self.depth, true)?;
        check_units("bottleneck", self.bottleneck)?;
        let widths = [base.text.width, self.bottleneck, tower.width];
        let coupling = |_| Coupling::new(widths, device);
        let prompts = CoupledPrompts {
            context_learner: CoupledContext {
                context: Context::new(self.depth, self.tokens, base.text.width, device),
                projection_layers: (0..self.depth).map(coupling).collect(),
            },
            words: self.words.clone(),
            text_prefix: base.text.prefix.into(),
            train_decoder: self.train_decoder,
        };
        Ok(initialised(
            prompts,
            seed,
            &[".0.weight"],
            &[".3.weight", ".3.bias"],
        ))
    }
}

impl Method for MapleConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("MaPLe ({} tokens, depth {})", self.tokens, self.depth)
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn has_head(&self) -> bool {
        self.head
    }
}

/// `norm(second(relu(first(x))))` from text tokens to vision tokens; fields are numbered as in the published module.
#[derive(Module, Debug)]
pub struct Coupling {
    numbered_0: Linear,
    numbered_2: Linear,
    numbered_3: Norm,
}

impl Coupling {
    fn new([text, hidden, vision]: [usize; 3], device: &Device) -> Self {
        Self {
            numbered_0: LinearConfig::new(text, hidden).init(device),
            numbered_2: LinearConfig::new(hidden, vision)
                .with_bias(false)
                .init(device),
            numbered_3: Norm::new(vision, device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = activation::relu(self.numbered_0.forward(x));
        self.numbered_3.forward(self.numbered_2.forward(x))
    }
}

/// Text tokens, and a coupling for each layer.
#[derive(Module, Debug)]
pub struct CoupledContext {
    context: Context,
    projection_layers: Vec<Coupling>,
}

/// Learnt tokens of the text tower and those of the vision tower that follow from them.
#[derive(Module, Debug)]
pub struct CoupledPrompts {
    context_learner: CoupledContext,
    #[module(skip)]
    words: String,
    #[module(skip)]
    text_prefix: String,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for CoupledPrompts {
    fn touches(&self) -> Touches {
        Touches {
            vision: true,
            text: true,
            decoder: self.train_decoder,
        }
    }

    fn start(&self, base: &dyn Start) -> Result<Tensors> {
        self.context_learner
            .context
            .start(base, &self.text_prefix, &self.words)
    }

    fn tokens(&self, tower: Tower, layer: usize) -> Option<Tensor<3>> {
        let learner = &self.context_learner;
        let tokens = learner.context.of(layer)?;
        match tower {
            Tower::Text => Some(tokens),
            Tower::Vision => Some(learner.projection_layers.get(layer)?.forward(tokens)),
        }
    }
}
