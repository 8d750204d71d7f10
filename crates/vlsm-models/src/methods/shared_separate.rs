//! Shared-Separate of TuneVLSeg: learnt tokens of a small width, projected to each tower.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::prompts::{Context, check, initialised, vision};
use super::sites::check_units;
use super::{Adaptation, BaseShape, Method, Profile, Touches, Tower};
use crate::error::Result;

/// Method `shared-separate`: learnt tokens of a small width with a projection to each tower; everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedSeparateConfig {
    /// The number of tokens. Default 4, as in TuneVLSeg.
    pub tokens: usize,
    /// The number of layers, the first ones, that have tokens of their own. Default 1, as in TuneVLSeg's configuration.
    pub depth: usize,
    /// Width of the shared tokens. Default 64, as in TuneVLSeg.
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

impl Default for SharedSeparateConfig {
    fn default() -> Self {
        Self {
            tokens: 4,
            depth: 1,
            bottleneck: 64,
            profile: Profile::Default,
            train_decoder: false,
            head: false,
        }
    }
}

impl SharedSeparateConfig {
    /// The prompts for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<ProjectedPrompts> {
        let tower = vision(base, "shared-separate")?;
        check(base, &[tower, &base.text], self.tokens, self.depth, true)?;
        check_units("bottleneck", self.bottleneck)?;
        let projections = |width| -> Vec<Linear> {
            let projection = LinearConfig::new(self.bottleneck, width);
            (0..self.depth).map(|_| projection.init(device)).collect()
        };
        let prompts = ProjectedPrompts {
            context_learner: ProjectedContext {
                context: Context::new(self.depth, self.tokens, self.bottleneck, device),
                textual_projection_layers: projections(base.text.width),
                visual_projection_layers: projections(tower.width),
            },
            train_decoder: self.train_decoder,
        };
        Ok(initialised(prompts, seed, &[], &[]))
    }
}

impl Method for SharedSeparateConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!(
            "Shared-Separate ({} tokens, depth {})",
            self.tokens, self.depth
        )
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn has_head(&self) -> bool {
        self.head
    }
}

/// Shared tokens, and for each layer their projections to the towers' widths.
#[derive(Module, Debug)]
pub struct ProjectedContext {
    context: Context,
    textual_projection_layers: Vec<Linear>,
    visual_projection_layers: Vec<Linear>,
}

/// Learnt tokens that both towers share.
#[derive(Module, Debug)]
pub struct ProjectedPrompts {
    context_learner: ProjectedContext,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for ProjectedPrompts {
    fn touches(&self) -> Touches {
        Touches {
            vision: true,
            text: true,
            decoder: self.train_decoder,
        }
    }

    fn tokens(&self, tower: Tower, layer: usize) -> Option<Tensor<3>> {
        let learner = &self.context_learner;
        let projections = match tower {
            Tower::Vision => &learner.visual_projection_layers,
            Tower::Text => &learner.textual_projection_layers,
        };
        let tokens = learner.context.of(layer)?;
        Some(projections.get(layer)?.forward(tokens))
    }
}
