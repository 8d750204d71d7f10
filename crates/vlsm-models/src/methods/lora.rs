//! LoRA: low-rank changes of the matrices in the towers' layers (Hu et al. 2022).

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::block::{BlockForm, conditioned};
use super::changes::of_layer;
use super::init::initialise;
use super::{
    Adaptation, AdapterBlock, AdapterInit, AdapterSites, BaseShape, Bottleneck, Change, Connection,
    LayerAdapters, Matrices, Method, Part, Placement, Profile, Projection, Touches, Tower,
    TowerShape, Towers, error, sites,
};
use crate::activation::Activation;
use crate::error::Result;

/// Method `lora`: low-rank changes of matrices in the towers' layers; everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// The parts that have adapters: `v` (vision tower), `l` (text tower), `vl`, `lc` or `vlc` (`c` is a block on the
    /// embedding between text tower and decoder). Default `"vlc"`.
    pub towers: Towers,
    /// Rank of a change: one number, or a list with one for each layer. At most 65,536. Default 8.
    pub bottleneck: Bottleneck,
    /// The same in the text tower. Default: `bottleneck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bottleneck: Option<Bottleneck>,
    /// Hidden units of the block on the text embedding, with `c` in `towers`. Default 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cond_bottleneck: Option<usize>,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default
    /// `"default"`.
    pub profile: Profile,
    /// The layers whose matrices are changed, counted from 0. Default: all layers that the decoder sees (profile
    /// `default`) or all but the last of them (`paper`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The same in the text tower. Default: the layers of the vision tower, or all layers if that is not a transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_layers: Option<Vec<usize>>,
    /// How changes start: `zero`, `near-zero` or `random`. Default `"zero"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<AdapterInit>,
    /// Factor on a change, alpha over rank. Default 1.
    pub scale: f64,
    /// The matrices that are changed, any of `query`, `key`, `value`, `output`, `fc1`, `fc2`.
    /// Default `["query", "value"]`.
    pub projections: Vec<Projection>,
    /// Whether the biases of the changed layers (attention, MLP and layer norms) are trained along with the adapters, as
    /// BitFit does. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub train_biases: bool,
    /// Whether the decoder is trained along with the adapters. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            towers: Towers::Vlc,
            bottleneck: Bottleneck::All(8),
            text_bottleneck: None,
            cond_bottleneck: None,
            profile: Profile::Default,
            layers: None,
            text_layers: None,
            init: None,
            scale: 1.0,
            projections: vec![Projection::Query, Projection::Value],
            train_biases: false,
            train_decoder: false,
            head: false,
        }
    }
}

impl LoraConfig {
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

    /// The layers whose matrices are changed, and the rank in each.
    ///
    /// # Errors
    /// If the base has no such layers.
    pub fn adapter_sites(&self, base: &BaseShape) -> Result<AdapterSites> {
        self.placement().in_layers(base, self.profile)
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
    ) -> Result<LoraAdapters> {
        // The published code has no LoRA, so profile `paper` puts no limits on the form of the block.
        let block = BlockForm {
            profile: Profile::Default,
            connection: Connection::Sequential,
            activation: Activation::Relu,
            init: self.init,
            scale: self.scale,
        };
        let mut config = block.config()?;
        config.rectified = self.profile == Profile::Paper;
        check_projections(&self.projections)?;
        let AdapterSites { vision, text } = self.adapter_sites(base)?;
        let make = |sites: &[(usize, usize)], tower: &TowerShape| {
            let layer = |(_, rank): &(usize, usize)| {
                Matrices::new(|matrix| {
                    let wanted = self.projections.contains(&matrix);
                    let shape = matrix.shape(tower);
                    wanted.then(|| LowRank::new(shape, *rank, self.scale, device))
                })
            };
            sites.iter().map(layer).collect()
        };
        let adapters = LoraAdapters {
            v_lora: match &base.vision {
                Ok(tower) => make(&vision, tower),
                Err(_) => Vec::new(),
            },
            l_lora: make(&text, &base.text),
            cond_adapter: AdapterBlock::conditional(&self.placement(), base, config, device),
            layers: sites::layers(&vision),
            text_layers: sites::layers(&text),
            train_biases: self.train_biases,
            train_decoder: self.train_decoder,
            merged: false,
        };
        let is_last = |layer: &str| layer.ends_with(".b") || layer.ends_with(".fc2");
        Ok(initialise(adapters, block.init(), seed, is_last))
    }
}

impl Method for LoraConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        let biases = if self.train_biases { " and biases" } else { "" };
        format!("LoRA{biases} ({})", self.towers.name())
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

/// Refuses an empty list of matrices, or one that has a matrix twice.
pub(super) fn check_projections(projections: &[Projection]) -> Result<()> {
    let repeats = |at: usize| projections[..at].contains(&projections[at]);
    if projections.is_empty() || (0..projections.len()).any(repeats) {
        return error(
            "`projections` must name at least one matrix, each once: query, key, value, output, fc1, fc2".into(),
        );
    }
    Ok(())
}

/// The change of a matrix, `scale * b(a(x))`: `a` is `[rank, input]` in files, `b` `[output, rank]`.
#[derive(Module, Debug)]
pub struct LowRank {
    a: Linear,
    b: Linear,
    #[module(skip)]
    scale: f64,
}

impl LowRank {
    /// For a matrix of `inputs` and `outputs`.
    pub(super) fn new(
        [inputs, outputs]: [usize; 2],
        rank: usize,
        scale: f64,
        device: &Device,
    ) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        Self {
            a: linear(inputs, rank),
            b: linear(rank, outputs),
            scale,
        }
    }
}

impl Change for LowRank {
    /// The changed matrix replaces the frozen one. Products with it cost the same as before, and the gradients of `a`
    /// and `b` are computed from its gradient.
    fn matrix(&self, matrix: Tensor<2>) -> Tensor<2> {
        let change = self.a.weight.val().matmul(self.b.weight.val());
        matrix + change * self.scale
    }
}

/// Changes in the towers' layers, and a block on the projected text embedding.
#[derive(Module, Debug)]
pub struct LoraAdapters {
    v_lora: Vec<Matrices<LowRank>>,
    l_lora: Vec<Matrices<LowRank>>,
    cond_adapter: Option<AdapterBlock>,
    #[module(skip)]
    layers: Vec<usize>,
    #[module(skip)]
    text_layers: Vec<usize>,
    #[module(skip)]
    train_biases: bool,
    #[module(skip)]
    train_decoder: bool,
    #[module(skip)]
    merged: bool,
}

impl Adaptation for LoraAdapters {
    fn touches(&self) -> Touches {
        Touches {
            vision: !self.layers.is_empty(),
            text: !self.text_layers.is_empty(),
            decoder: self.train_decoder,
        }
    }

    fn first_vision_layer(&self) -> usize {
        self.layers.first().copied().unwrap_or(0)
    }

    fn trains(&self, part: Part, name: &str) -> bool {
        let layer = match part {
            Part::Vision { layer } => layer.filter(|layer| self.layers.contains(layer)),
            Part::Text { layer } => layer.filter(|layer| self.text_layers.contains(layer)),
            Part::Decoder => return self.train_decoder,
            Part::Untrained => None,
        };
        self.train_biases && layer.is_some() && name.ends_with(".bias")
    }

    fn without_changes(self) -> Self {
        Self {
            merged: true,
            ..self
        }
    }

    fn merges(&self, name: &str) -> bool {
        name.starts_with("v_lora.") || name.starts_with("l_lora.")
    }

    fn layer(&self, tower: Tower, layer: usize) -> LayerAdapters<'_> {
        let changes = match tower {
            Tower::Vision => of_layer(&self.layers, &self.v_lora, layer),
            Tower::Text => of_layer(&self.text_layers, &self.l_lora, layer),
        };
        LayerAdapters {
            changes: changes.filter(|_| !self.merged),
            ..LayerAdapters::default()
        }
    }

    fn text_embedding(&self, embedding: Tensor<2>, _tapped: Vec<Tensor<2>>) -> Tensor<2> {
        conditioned(&self.cond_adapter, embedding)
    }
}
