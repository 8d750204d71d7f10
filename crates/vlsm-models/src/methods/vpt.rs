//! VPT: learnt tokens in the vision tower (Jia et al. 2022, "Visual prompt tuning"). As in TuneVLSeg they come after the patches and
//! before CLIP's first norm; the decoder does not see them.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::prompts::{Context, check, initialised, vision};
use super::{Adaptation, BaseShape, Method, Profile, Touches, Tower};
use crate::error::Result;

/// Method `vpt`: learnt tokens in the vision tower, after the patches; everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VptConfig {
    /// The number of tokens. Default 4, as in TuneVLSeg.
    pub tokens: usize,
    /// The number of layers, the first ones, that have tokens of their own: 1 for VPT-shallow. Default: all layers that the
    /// decoder sees, VPT-deep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// Whether the decoder is trained along with the tokens. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for VptConfig {
    fn default() -> Self {
        Self {
            tokens: 4,
            depth: None,
            profile: Profile::Default,
            train_decoder: false,
            head: false,
        }
    }
}

impl VptConfig {
    /// The prompts for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<VisionPrompts> {
        let tower = vision(base, "vpt")?;
        let depth = self.depth.unwrap_or(tower.layers);
        check(base, &[tower], self.tokens, depth, false)?;
        let prompts = VisionPrompts {
            context_learner: Context::new(depth, self.tokens, tower.width, device),
            train_decoder: self.train_decoder,
        };
        Ok(initialised(prompts, seed, &[], &[]))
    }
}

impl Method for VptConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        match self.depth {
            Some(1) => format!("VPT-shallow ({} tokens)", self.tokens),
            Some(depth) => format!("VPT-deep ({} tokens, depth {depth})", self.tokens),
            None => format!("VPT-deep ({} tokens)", self.tokens),
        }
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn has_head(&self) -> bool {
        self.head
    }
}

/// Learnt tokens of the vision tower.
#[derive(Module, Debug)]
pub struct VisionPrompts {
    context_learner: Context,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for VisionPrompts {
    fn touches(&self) -> Touches {
        Touches {
            vision: true,
            text: false,
            decoder: self.train_decoder,
        }
    }

    fn tokens(&self, tower: Tower, layer: usize) -> Option<Tensor<3>> {
        match tower {
            Tower::Vision => self.context_learner.of(layer),
            Tower::Text => None,
        }
    }
}
