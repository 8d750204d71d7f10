//! Dense adapters: blocks in the towers' layers, two in each as published (Dhakal et al. 2024, after Houlsby et al. 2019).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::block::{BlockForm, conditioned};
use super::init::initialise;
use super::{
    Adaptation, AdapterBlock, AdapterInit, AdapterSites, BaseShape, Bottleneck, Connection,
    LayerAdapters, Method, Placement, Profile, Touches, Tower, Towers, sites,
};
use crate::activation::Activation;
use crate::error::Result;

/// The sublayers of an encoder layer that have dense blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sublayers {
    /// Attention and MLP.
    Both,
    /// Attention alone.
    Attention,
    /// The MLP alone.
    Mlp,
}

/// Method `dense`: adapters inside the towers' layers; everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenseConfig {
    /// The parts that have adapters: `v` (vision tower), `l` (text tower), `vl`, `lc` or `vlc` (`c` is the embedding
    /// between text tower and decoder). Default `"vlc"`.
    pub towers: Towers,
    /// Hidden units of a block: one number, or a list with one for each layer. At most 65,536. Default 64, as published.
    pub bottleneck: Bottleneck,
    /// The same in the text tower. Default: `bottleneck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bottleneck: Option<Bottleneck>,
    /// Hidden units of the block on the text embedding, with `c` in `towers`. Default 256, as published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cond_bottleneck: Option<usize>,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// The layers that have adapters, counted from 0. Default: all layers that the decoder sees (profile `default`) or all
    /// but the last of them (`paper`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The same in the text tower. Default: the layers of the vision tower, or all layers if that is not a transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_layers: Option<Vec<usize>>,
    /// The sublayers that have blocks: `both`, `attention` or `mlp`. Default `"both"`.
    pub sublayers: Sublayers,
    /// What a block reads and adds to: `sequential` (the sublayer's output) or `parallel` (it reads what the sublayer
    /// reads, He et al. 2022). Default `"sequential"`.
    pub connection: Connection,
    /// Activation between the two layers of a block: `relu`, `gelu`, `gelu_new` (tanh approximation) or `quick_gelu`. Default
    /// `"relu"`.
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

impl Default for DenseConfig {
    fn default() -> Self {
        Self {
            towers: Towers::Vlc,
            bottleneck: Bottleneck::All(64),
            text_bottleneck: None,
            cond_bottleneck: None,
            profile: Profile::Default,
            layers: None,
            text_layers: None,
            sublayers: Sublayers::Both,
            connection: Connection::Sequential,
            activation: Activation::Relu,
            init: None,
            scale: 1.0,
            train_decoder: false,
            head: false,
        }
    }
}

impl DenseConfig {
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
            connection: self.connection,
            activation: self.activation,
            init: self.init,
            scale: self.scale,
        }
    }

    /// The layers that have blocks, and the width of each block.
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
    ) -> Result<DenseAdapters> {
        let config = self.form().config()?;
        let AdapterSites { vision, text } = self.adapter_sites(base)?;
        let make = |sublayer, sites: &[(usize, usize)], width| -> Vec<AdapterBlock> {
            let wanted = [Sublayers::Both, sublayer].contains(&self.sublayers);
            let sites = if wanted { sites } else { &[] };
            let blocks = sites.iter();
            let block =
                |(_, units): &(usize, usize)| AdapterBlock::new(width, *units, config, device);
            blocks.map(block).collect()
        };
        let (attention, mlp) = (Sublayers::Attention, Sublayers::Mlp);
        let vision_width = base.vision.as_ref().map_or(0, |tower| tower.width);
        let adapters = DenseAdapters {
            v_attn_adapters: make(attention, &vision, vision_width),
            v_out_adapters: make(mlp, &vision, vision_width),
            l_attn_adapters: make(attention, &text, base.text.width),
            l_out_adapters: make(mlp, &text, base.text.width),
            cond_adapter: AdapterBlock::conditional(&self.placement(), base, config, device),
            layers: sites::layers(&vision),
            text_layers: sites::layers(&text),
            train_decoder: self.train_decoder,
        };
        let is_last = |layer: &str| layer.ends_with(".fc2");
        Ok(initialise(adapters, self.form().init(), seed, is_last))
    }
}

impl Method for DenseConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("dense adapters ({})", self.towers.name())
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

/// Blocks inside the towers, and one on the projected text embedding; field names as published.
#[derive(Module, Debug)]
pub struct DenseAdapters {
    v_attn_adapters: Vec<AdapterBlock>,
    v_out_adapters: Vec<AdapterBlock>,
    l_attn_adapters: Vec<AdapterBlock>,
    l_out_adapters: Vec<AdapterBlock>,
    cond_adapter: Option<AdapterBlock>,
    #[module(skip)]
    layers: Vec<usize>,
    #[module(skip)]
    text_layers: Vec<usize>,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for DenseAdapters {
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

    fn layer(&self, tower: Tower, layer: usize) -> LayerAdapters<'_> {
        let (layers, attention, mlp) = match tower {
            Tower::Vision => (&self.layers, &self.v_attn_adapters, &self.v_out_adapters),
            Tower::Text => (
                &self.text_layers,
                &self.l_attn_adapters,
                &self.l_out_adapters,
            ),
        };
        let index = layers.iter().position(|own| *own == layer);
        LayerAdapters {
            attention: index.and_then(|index| attention.get(index)),
            mlp: index.and_then(|index| mlp.get(index)),
            changes: None,
        }
    }

    fn text_embedding(&self, embedding: Tensor<2>, _tapped: Vec<Tensor<2>>) -> Tensor<2> {
        conditioned(&self.cond_adapter, embedding)
    }
}
