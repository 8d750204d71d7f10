//! DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024): the direction of a matrix's columns is changed by a low-rank
//! update, their length is trained on its own.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::changed_layers::ChangedLayers;
use super::init::initialise;
use super::lora::check_projections;
use super::{
    AdapterInit, AdapterSites, BaseShape, Bottleneck, Change, LowRank, Matrices, Method, Placement,
    Profile, Projection, TowerShape, Towers, check_scale,
};
use crate::error::Result;
use crate::tensor_file::HostTensor;
use crate::weights::to_host;

/// Method `dora`: low-rank changes of the direction of matrices in the towers' layers, and their trained length; everything
/// pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoraConfig {
    /// The towers whose matrices are changed: `v` (vision), `l` (text) or `vl`. `lc` and `vlc` are errors, since the text
    /// embedding has none. Default `"vl"`.
    pub towers: Towers,
    /// Rank of a change: one number, or a list with one for each layer. At most 65,536. Default 8.
    pub bottleneck: Bottleneck,
    /// The same in the text tower. Default: `bottleneck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bottleneck: Option<Bottleneck>,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// The layers that are changed, counted from 0. Default: all layers that the decoder sees (profile `default`) or all
    /// but the last of them (`paper`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The same in the text tower. Default: the layers of the vision tower, or all layers if that is not a transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_layers: Option<Vec<usize>>,
    /// How low-rank changes start: `zero`, `near-zero` or `random`. Default `"zero"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<AdapterInit>,
    /// Factor on a low-rank change, alpha over rank. Default 1.
    pub scale: f64,
    /// The matrices that are changed, any of `query`, `key`, `value`, `output`, `fc1`, `fc2`.
    /// Default `["query", "value"]`.
    pub projections: Vec<Projection>,
    /// Whether the decoder is trained along with the adapters. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for DoraConfig {
    fn default() -> Self {
        Self {
            towers: Towers::Vl,
            bottleneck: Bottleneck::All(8),
            text_bottleneck: None,
            profile: Profile::Default,
            layers: None,
            text_layers: None,
            init: None,
            scale: 1.0,
            projections: vec![Projection::Query, Projection::Value],
            train_decoder: false,
            head: false,
        }
    }
}

impl DoraConfig {
    /// The layers whose matrices are changed, and the rank in each.
    ///
    /// # Errors
    /// If the base has no such layers.
    pub fn adapter_sites(&self, base: &BaseShape) -> Result<AdapterSites> {
        self.towers.without_embedding(
            "a low-rank change needs a matrix, and the text embedding is none",
        )?;
        Placement {
            towers: self.towers,
            layers: self.layers.as_deref(),
            text_layers: self.text_layers.as_deref(),
            bottleneck: &self.bottleneck,
            text_bottleneck: self.text_bottleneck.as_ref(),
            cond_bottleneck: None,
        }
        .in_layers(base, self.profile)
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
    ) -> Result<DoraAdapters> {
        check_projections(&self.projections)?;
        check_scale(self.scale)?;
        let sites = self.adapter_sites(base)?;
        let layer = |tower: &TowerShape, rank: usize, device: &Device| {
            Matrices::new(|matrix| {
                let wanted = self.projections.contains(&matrix);
                wanted.then(|| Decomposed::new(matrix.shape(tower), rank, self.scale, device))
            })
        };
        let adapters = ChangedLayers::new(base, &sites, self.train_decoder, device, layer);
        let init = self.init.unwrap_or(AdapterInit::Zero);
        Ok(initialise(adapters, init, seed, |layer| {
            layer.ends_with(".b")
        }))
    }
}

impl Method for DoraConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("DoRA ({})", self.towers.name())
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

/// A matrix whose columns have a trained length, and the direction of the base's with a low-rank change.
#[derive(Module, Debug)]
pub struct Decomposed {
    direction: LowRank,
    /// Length of each column, `[output]`.
    magnitude: Param<Tensor<1>>,
}

impl Decomposed {
    fn new(shape: [usize; 2], rank: usize, scale: f64, device: &Device) -> Self {
        let [_, outputs] = shape;
        // The lengths are those of the base's columns, which `start` gives. Without them nothing is computed with wrong ones.
        let unknown = Initializer::Constant { value: f64::NAN };
        Self {
            direction: LowRank::new(shape, rank, scale, device),
            magnitude: unknown.init([outputs], device),
        }
    }
}

/// Length of each column of `[input, output]`, `[1, output]`.
fn lengths(matrix: Tensor<2>) -> Tensor<2> {
    matrix.powf_scalar(2.0).sum_dim(0).sqrt()
}

impl Change for Decomposed {
    /// The length of the changed columns is a constant for the gradient, as the paper proposes (section 4.3) and peft does.
    fn matrix(&self, matrix: Tensor<2>) -> Tensor<2> {
        let matrix = self.direction.matrix(matrix);
        let lengths = lengths(matrix.clone().detach());
        matrix * (self.magnitude.val().unsqueeze::<2>() / lengths)
    }

    fn start(
        &self,
        matrix: &dyn Fn() -> Result<Tensor<2>>,
    ) -> Result<Option<(&'static str, HostTensor)>> {
        let matrix = self.direction.matrix(matrix()?);
        let lengths = lengths(matrix);
        let [_, outputs] = lengths.dims();
        let value = HostTensor {
            shape: vec![outputs],
            data: to_host(lengths),
        };
        Ok(Some(("magnitude", value)))
    }
}

/// Low-rank changes and lengths in the towers' layers.
pub type DoraAdapters = ChangedLayers<Matrices<Decomposed>>;
