//! Training of the towers' layer norms alone (Qi et al. 2022, "Parameter-efficient tuning on layer normalization for pre-trained
//! language models"; Zhao et al. 2024 for vision-language models).

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{BaseShape, Method, Profile, Towers, TrainedLayers};
use crate::error::Result;

/// Method `layer-norm`: scales and shifts of the two norms in each of the towers' layers are trained; everything else is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LayerNormConfig {
    /// The towers whose norms are trained: `v` (vision), `l` (text) or `vl`. `lc` and `vlc` are errors, since the text
    /// embedding has no norm. Default `"vl"`.
    pub towers: Towers,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// Whether the decoder is trained along with the norms. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for LayerNormConfig {
    fn default() -> Self {
        Self {
            towers: Towers::Vl,
            profile: Profile::Default,
            train_decoder: false,
            head: false,
        }
    }
}

impl LayerNormConfig {
    pub(super) fn build(
        &self,
        base: &BaseShape,
        _seed: u64,
        _device: &Device,
    ) -> Result<TrainedLayers> {
        let reason = "the text embedding has no norm";
        TrainedLayers::new(base, self.towers, self.train_decoder, reason, |name| {
            name.contains(".layer_norm1.") || name.contains(".layer_norm2.")
        })
    }
}

impl Method for LayerNormConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("layer norms ({})", self.towers.name())
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn has_head(&self) -> bool {
        self.head
    }

    fn towers(&self) -> Option<Towers> {
        Some(self.towers)
    }
}
