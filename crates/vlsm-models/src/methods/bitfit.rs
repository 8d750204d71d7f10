//! BitFit: training of the towers' bias terms alone (Ben Zaken et al. 2022, "BitFit: Simple parameter-efficient fine-tuning for
//! transformer-based masked language-models").

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{BaseShape, Method, Profile, Towers, TrainedLayers};
use crate::error::Result;

/// Method `bitfit`: the biases of the towers' layers (attention, MLP and layer norms) are trained; everything else is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BitFitConfig {
    /// The towers whose biases are trained: `v` (vision), `l` (text) or `vl`. `lc` and `vlc` are errors, since the text
    /// embedding has no bias. Default `"vl"`.
    pub towers: Towers,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// Whether the decoder is trained along with the biases. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for BitFitConfig {
    fn default() -> Self {
        Self {
            towers: Towers::Vl,
            profile: Profile::Default,
            train_decoder: false,
            head: false,
        }
    }
}

impl BitFitConfig {
    pub(super) fn build(
        &self,
        base: &BaseShape,
        _seed: u64,
        _device: &Device,
    ) -> Result<TrainedLayers> {
        let reason = "the text embedding has no bias";
        TrainedLayers::new(base, self.towers, self.train_decoder, reason, |name| {
            name.ends_with(".bias")
        })
    }
}

impl Method for BitFitConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("BitFit ({})", self.towers.name())
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
