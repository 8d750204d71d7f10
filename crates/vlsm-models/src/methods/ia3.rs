//! IA3: learnt vectors rescale keys, values and the hidden units of the MLP (Liu et al. 2022, "Few-shot parameter-efficient
//! fine-tuning is better and cheaper than in-context learning").

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::changed_layers::ChangedLayers;
use super::lora::check_projections;
use super::{
    AdapterSites, BaseShape, Change, Matrices, Method, Profile, Projection, TowerShape, Towers,
    sites,
};
use crate::error::Result;

/// Method `ia3`: keys, values and the MLP's hidden units in the towers' layers are scaled, feature by feature; everything
/// pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ia3Config {
    /// The towers whose features are scaled: `v` (vision), `l` (text) or `vl`. `lc` and `vlc` are errors, since the text
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
    /// The matrices with a vector, any of `query`, `key`, `value`, `output`, `fc1`, `fc2`. That of `fc2` scales what the
    /// matrix reads, the MLP's hidden units; the others what it gives. Default `["key", "value", "fc2"]`, as published.
    pub projections: Vec<Projection>,
    /// Whether the decoder is trained along with the vectors. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for Ia3Config {
    fn default() -> Self {
        Self {
            towers: Towers::Vl,
            profile: Profile::Default,
            layers: None,
            text_layers: None,
            projections: vec![Projection::Key, Projection::Value, Projection::Fc2],
            train_decoder: false,
            head: false,
        }
    }
}

impl Ia3Config {
    /// The layers that are changed; the width of each is 1.
    ///
    /// # Errors
    /// If the base has no such layers.
    pub fn adapter_sites(&self, base: &BaseShape) -> Result<AdapterSites> {
        sites::of_layers(
            self.towers,
            self.layers.as_deref(),
            self.text_layers.as_deref(),
            base,
            self.profile,
        )
    }

    /// The adapters for a base. They start as ones, so the seed does not matter.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        _seed: u64,
        device: &Device,
    ) -> Result<Ia3Adapters> {
        check_projections(&self.projections)?;
        let sites = self.adapter_sites(base)?;
        let layer = |tower: &TowerShape, _: usize, device: &Device| {
            Matrices::new(|matrix| {
                let wanted = self.projections.contains(&matrix);
                wanted.then(|| Rescaling::new(matrix, tower, device))
            })
        };
        let decoder = self.train_decoder;
        Ok(ChangedLayers::new(base, &sites, decoder, device, layer))
    }
}

impl Method for Ia3Config {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("IA3 ({})", self.towers.name())
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

/// A factor for each output of a linear layer, or for each of its inputs.
#[derive(Module, Debug)]
pub struct Rescaling {
    /// `[input]` or `[output]`.
    l: Param<Tensor<1>>,
    #[module(skip)]
    of_inputs: bool,
}

impl Rescaling {
    fn new(matrix: Projection, tower: &TowerShape, device: &Device) -> Self {
        let [inputs, outputs] = matrix.shape(tower);
        let of_inputs = matrix == Projection::Fc2;
        let count = if of_inputs { inputs } else { outputs };
        Self {
            l: Initializer::Ones.init([count], device),
            of_inputs,
        }
    }
}

impl Change for Rescaling {
    fn matrix(&self, matrix: Tensor<2>) -> Tensor<2> {
        let dimension = if self.of_inputs { 1 } else { 0 };
        matrix * self.l.val().unsqueeze_dim::<2>(dimension)
    }

    fn bias(&self, bias: Tensor<1>) -> Tensor<1> {
        if self.of_inputs {
            return bias;
        }
        bias * self.l.val()
    }
}

/// Vectors in the towers' layers.
pub type Ia3Adapters = ChangedLayers<Matrices<Rescaling>>;
