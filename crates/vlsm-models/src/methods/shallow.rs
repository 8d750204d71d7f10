//! Shallow adapters: blocks between the untouched towers and the decoder (Dhakal et al. 2024).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::block::{BlockForm, conditioned};
use super::init::initialise;
use super::{
    Adaptation, AdapterBlock, AdapterInit, AdapterSites, BaseShape, Bottleneck, Connection, Method,
    Placement, Profile, Touches, Towers, error, sites,
};
use crate::activation::Activation;
use crate::error::Result;

/// Method `shallow`: adapters between the towers and the decoder; everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShallowConfig {
    /// The parts that have adapters: `v` (vision tower), `l` (text tower), `vl`, `lc` or `vlc` (`c` is the embedding
    /// between text tower and decoder). Default `"vlc"`.
    pub towers: Towers,
    /// Hidden units of a block: one number, or a list with one for each tap. At most 65,536. Default 512, as published.
    pub bottleneck: Bottleneck,
    /// The same in the text tower. Default: `bottleneck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bottleneck: Option<Bottleneck>,
    /// Hidden units of the block on the text embedding, with `c` in `towers`. Default 256, as published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cond_bottleneck: Option<usize>,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default
    /// `"default"`.
    pub profile: Profile,
    /// The tapped vision states that have adapters, by their numbers in the base's configuration (CLIPSeg's
    /// `extract_layers`, the states that SAN fuses). Default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The text layers whose states are added to the text embedding, counted from 0. Default: as in the vision tower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_layers: Option<Vec<usize>>,
    /// Activation between the two layers of a block: `relu`, `gelu`, `gelu_new` (tanh approximation) or `quick_gelu`.
    /// Default `"relu"`.
    pub activation: Activation,
    /// How blocks start: `zero` (they change nothing), `near-zero` or `random`. Default `"zero"`, in profile `paper`
    /// `"random"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<AdapterInit>,
    /// Factor on a block's change. Default 1.
    pub scale: f64,
    /// Whether the decoder is trained along with the adapters. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for ShallowConfig {
    fn default() -> Self {
        Self {
            towers: Towers::Vlc,
            bottleneck: Bottleneck::All(512),
            text_bottleneck: None,
            cond_bottleneck: None,
            profile: Profile::Default,
            layers: None,
            text_layers: None,
            activation: Activation::Relu,
            init: None,
            scale: 1.0,
            train_decoder: false,
            head: false,
        }
    }
}

impl ShallowConfig {
    fn placement(&self) -> Placement<'_> {
        Placement {
            towers: self.towers,
            layers: self.layers.as_deref(),
            text_layers: self.text_layers.as_deref(),
            bottleneck: &self.bottleneck,
            text_bottleneck: self.text_bottleneck.as_ref(),
            cond_bottleneck: self.cond_bottleneck,
        }
    }

    fn form(&self) -> BlockForm {
        BlockForm {
            profile: self.profile,
            connection: Connection::Sequential,
            activation: self.activation,
            init: self.init,
            scale: self.scale,
        }
    }

    /// The taps that have blocks, and the width of each block.
    ///
    /// # Errors
    /// If the base has no such taps.
    pub fn adapter_sites(&self, base: &BaseShape) -> Result<AdapterSites> {
        self.placement().on_taps(base)
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
    ) -> Result<ShallowAdapters> {
        let config = self.form().config()?;
        let AdapterSites { vision, text } = self.adapter_sites(base)?;
        if !text.is_empty() && base.text.width != base.projection {
            return error(format!(
                "shallow text adapters need a text width ({}) equal to the projection width ({}); use `towers = \"v\"` \
                 or dense adapters",
                base.text.width, base.projection
            ));
        }
        let make = |sites: &[(usize, usize)], width| -> Vec<AdapterBlock> {
            let block =
                |(_, units): &(usize, usize)| AdapterBlock::new(width, *units, config, device);
            sites.iter().map(block).collect()
        };
        let adapters = ShallowAdapters {
            vision_extract_adapters: make(
                &vision,
                base.vision.as_ref().map_or(0, |tower| tower.width),
            ),
            text_extract_adapters: make(&text, base.text.width),
            cond_adapter: AdapterBlock::conditional(&self.placement(), base, config, device),
            taps: sites::layers(&vision),
            text_taps: sites::layers(&text),
            train_decoder: self.train_decoder,
        };
        let is_last = |layer: &str| layer.ends_with(".fc2");
        Ok(initialise(adapters, self.form().init(), seed, is_last))
    }
}

impl Method for ShallowConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("shallow adapters ({})", self.towers.name())
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

    fn as_published(&self) -> bool {
        sites::are_published(self.towers, &self.bottleneck)
            && *self
                == Self {
                    towers: self.towers,
                    bottleneck: self.bottleneck.clone(),
                    cond_bottleneck: self.cond_bottleneck,
                    profile: Profile::Paper,
                    ..Self::default()
                }
    }
}

/// A block on each tapped vision state; blocks on tapped text states, whose outputs are added to
/// the text embedding; one block on that embedding. Field names as published.
#[derive(Module, Debug)]
pub struct ShallowAdapters {
    vision_extract_adapters: Vec<AdapterBlock>,
    text_extract_adapters: Vec<AdapterBlock>,
    cond_adapter: Option<AdapterBlock>,
    #[module(skip)]
    taps: Vec<usize>,
    #[module(skip)]
    text_taps: Vec<usize>,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for ShallowAdapters {
    fn touches(&self) -> Touches {
        Touches {
            decoder: self.train_decoder,
            ..Touches::default()
        }
    }

    fn tap(&self, tap: usize, state: Tensor<3>) -> Tensor<3> {
        let index = self.taps.iter().position(|adapted| *adapted == tap);
        match index.and_then(|index| self.vision_extract_adapters.get(index)) {
            Some(block) => block.forward(state),
            None => state,
        }
    }

    fn text_taps(&self) -> &[usize] {
        &self.text_taps
    }

    fn text_embedding(&self, embedding: Tensor<2>, tapped: Vec<Tensor<2>>) -> Tensor<2> {
        let embedding = conditioned(&self.cond_adapter, embedding);
        self.text_extract_adapters
            .iter()
            .zip(tapped)
            .fold(embedding, |sum, (block, state)| {
                sum + block.contribution(state)
            })
    }
}
