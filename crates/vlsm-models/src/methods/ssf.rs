//! SSF: a scale and a shift after every linear layer and norm of the towers' layers (Lian et al. 2022, "Scaling and shifting your
//! features").

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::changed_layers::ChangedLayers;
use super::init::normal;
use super::{
    AdapterSites, BaseShape, Change, LayerChanges, LayerPart, Matrices, Method, Profile,
    TowerShape, Towers, sites,
};
use crate::error::Result;

/// Method `ssf`: the output of every linear layer and norm in the towers' layers is scaled and shifted, feature by feature;
/// everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SsfConfig {
    /// The towers whose features are scaled and shifted: `v` (vision), `l` (text) or `vl`. `lc` and `vlc` are errors, since the text
    /// embedding has none. Default `"vl"`.
    pub towers: Towers,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// The layers that are changed, counted from 0. Default: all layers that the decoder sees (profile `default`) or all
    /// but the last of them (`paper`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The same in the text tower. Default: all its layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_layers: Option<Vec<usize>>,
    /// Whether the decoder is trained along with the scales and shifts. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for SsfConfig {
    fn default() -> Self {
        Self {
            towers: Towers::Vl,
            profile: Profile::Default,
            layers: None,
            text_layers: None,
            train_decoder: false,
            head: false,
        }
    }
}

impl SsfConfig {
    fn sites(&self, base: &BaseShape) -> Result<AdapterSites> {
        sites::of_layers(
            self.towers,
            self.layers.as_deref(),
            self.text_layers.as_deref(),
            base,
            self.profile,
        )
    }

    /// The adapters for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<SsfAdapters> {
        let sites = self.sites(base)?;
        let layer = |tower: &TowerShape, _: usize, device: &Device| SsfLayer::new(tower, device);
        let adapters = ChangedLayers::new(base, &sites, self.train_decoder, device, layer);
        // The starting values of the published code.
        Ok(normal(adapters, seed, |name| {
            let mean = if name.ends_with(".scale") { 1.0 } else { 0.0 };
            Some((mean, 0.02))
        }))
    }
}

impl Method for SsfConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("SSF ({})", self.towers.name())
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

    fn changes_matrices(&self) -> bool {
        true
    }
}

/// `x * scale + shift` of a layer's output, merged into its parameters.
#[derive(Module, Debug)]
pub struct ScaleShift {
    /// `[output]`.
    scale: Param<Tensor<1>>,
    /// `[output]`.
    shift: Param<Tensor<1>>,
}

impl ScaleShift {
    fn new(outputs: usize, device: &Device) -> Self {
        Self {
            scale: Initializer::Ones.init([outputs], device),
            shift: Initializer::Zeros.init([outputs], device),
        }
    }
}

impl Change for ScaleShift {
    fn matrix(&self, matrix: Tensor<2>) -> Tensor<2> {
        matrix * self.scale.val().unsqueeze::<2>()
    }

    fn scale(&self, scale: Tensor<1>) -> Tensor<1> {
        scale * self.scale.val()
    }

    fn bias(&self, bias: Tensor<1>) -> Tensor<1> {
        bias * self.scale.val() + self.shift.val()
    }
}

/// Scales and shifts in one layer of a tower.
#[derive(Module, Debug)]
pub struct SsfLayer {
    layer_norm1: ScaleShift,
    layer_norm2: ScaleShift,
    matrices: Matrices<ScaleShift>,
}

impl SsfLayer {
    fn new(tower: &TowerShape, device: &Device) -> Self {
        let norm = || ScaleShift::new(tower.width, device);
        Self {
            layer_norm1: norm(),
            layer_norm2: norm(),
            matrices: Matrices::new(|matrix| {
                let [_, outputs] = matrix.shape(tower);
                Some(ScaleShift::new(outputs, device))
            }),
        }
    }
}

impl LayerChanges for SsfLayer {
    fn of(&self, part: LayerPart) -> Option<&dyn Change> {
        match part {
            LayerPart::Norm1 => Some(&self.layer_norm1),
            LayerPart::Norm2 => Some(&self.layer_norm2),
            LayerPart::Linear(_) => self.matrices.of(part),
        }
    }
}

/// Scales and shifts in the towers' layers.
pub type SsfAdapters = ChangedLayers<SsfLayer>;
