//! CoOp: learnt tokens between a prompt's start and its words (Zhou et al. 2022, "Learning to prompt for vision-language models");
//! with a depth, later layers have tokens of their own (TuneVLSeg).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::prompts::{Context, WORDS, check, initialised};
use super::{Adaptation, BaseShape, Method, Profile, Start, Tensors, Touches, Tower};
use crate::error::Result;

/// Method `coop`: learnt tokens in the text tower, between a prompt's start and its words; everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoopConfig {
    /// The number of tokens. Default 4, as in TuneVLSeg.
    pub tokens: usize,
    /// The number of layers, the first ones, that have tokens of their own. Default 1, as in TuneVLSeg's configuration.
    pub depth: usize,
    /// Words that the first layer's tokens start from; empty for random ones. Default `"a photo of a"`.
    pub words: String,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// Whether the decoder is trained along with the tokens. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for CoopConfig {
    fn default() -> Self {
        Self {
            tokens: 4,
            depth: 1,
            words: WORDS.into(),
            profile: Profile::Default,
            train_decoder: false,
            head: false,
        }
    }
}

impl CoopConfig {
    /// The prompts for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<TextPrompts> {
        check(base, &[&base.text], self.tokens, self.depth, true)?;
        let prompts = TextPrompts {
            context_learner: Context::new(self.depth, self.tokens, base.text.width, device),
            words: self.words.clone(),
            text_prefix: base.text.prefix.into(),
            train_decoder: self.train_decoder,
        };
        Ok(initialised(prompts, seed, &[], &[]))
    }
}

impl Method for CoopConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("CoOp ({} tokens, depth {})", self.tokens, self.depth)
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn has_head(&self) -> bool {
        self.head
    }
}

/// Learnt tokens of the text tower.
#[derive(Module, Debug)]
pub struct TextPrompts {
    context_learner: Context,
    #[module(skip)]
    words: String,
    #[module(skip)]
    text_prefix: String,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for TextPrompts {
    fn touches(&self) -> Touches {
        Touches {
            vision: false,
            text: true,
            decoder: self.train_decoder,
        }
    }

    fn start(&self, base: &dyn Start) -> Result<Tensors> {
        self.context_learner
            .start(base, &self.text_prefix, &self.words)
    }

    fn tokens(&self, tower: Tower, layer: usize) -> Option<Tensor<3>> {
        match tower {
            Tower::Vision => None,
            Tower::Text => self.context_learner.of(layer),
        }
    }
}
