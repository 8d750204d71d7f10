//! Where a method's adapter blocks are in a graph.

use super::layers::{Block, LayerBlocks};
use crate::activation::Activation;
use crate::error::{ModelError, Result};
use crate::methods::{
    AdapterSites, BaseShape, Connection, DenseConfig, MethodConfig, Profile, ShallowConfig,
    Sublayers, Tower,
};

/// The adapter blocks of a model. Changes of weight matrices are not among them: they are merged.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    /// In the layers of a tower.
    layers: Vec<(Tower, usize, [Option<Block>; 2])>,
    /// On tapped vision states, by tap.
    taps: Vec<(usize, Block)>,
    /// On text states, by the layer after which they are taken; their output is added to the text embedding.
    pub(super) text_taps: Vec<(usize, Block)>,
    /// On the text embedding.
    pub(super) conditional: Option<Block>,
}

impl Blocks {
    /// The blocks of a method on a base.
    ///
    /// # Errors
    /// If the method adds anything that has no form in a graph here.
    pub(super) fn of(method: &MethodConfig, base: &BaseShape) -> Result<Self> {
        if method.has_head() {
            return Err(ModelError::Onnx(
                "the output head (`head = true`) cannot be exported; train without it".into(),
            ));
        }
        match method {
            MethodConfig::Dense(method) => dense(method, base),
            MethodConfig::Shallow(method) => shallow(method, base),
            MethodConfig::Lora(method) => {
                let block = form(Activation::Relu, method.profile, method.scale);
                Ok(Self {
                    conditional: conditional(method.towers.conditional(), &block),
                    ..Self::default()
                })
            }
            // Their changes are merged.
            MethodConfig::Dora(_)
            | MethodConfig::Ia3(_)
            | MethodConfig::Ssf(_)
            | MethodConfig::BitFit(_)
            | MethodConfig::LayerNorm(_)
            | MethodConfig::Decoder(_)
            | MethodConfig::Full(_)
            | MethodConfig::ZeroShot(_) => Ok(Self::default()),
            other => Err(ModelError::Onnx(format!(
                "{} cannot be exported: only dense and shallow adapters, and methods that change the base's own weights, can",
                other.label()
            ))),
        }
    }

    /// The blocks in a layer of a tower.
    pub(super) fn layer(&self, tower: Tower, layer: usize) -> LayerBlocks {
        let mut layers = self.layers.iter();
        let found = layers.find(|(of, index, _)| (*of, *index) == (tower, layer));
        found.map_or_else(LayerBlocks::default, |(_, _, [attention, mlp])| {
            LayerBlocks {
                attention: attention.clone(),
                mlp: mlp.clone(),
            }
        })
    }

    /// The block on a tapped vision state.
    pub(super) fn tap(&self, tap: usize) -> Option<&Block> {
        let mut taps = self.taps.iter();
        taps.find(|(of, _)| *of == tap).map(|(_, block)| block)
    }
}

/// A sequential block without a name.
fn form(activation: Activation, profile: Profile, scale: f64) -> Block {
    Block {
        name: String::new(),
        activation,
        rectified: profile == Profile::Paper,
        scale: scale as f32,
        parallel: false,
    }
}

fn dense(method: &DenseConfig, base: &BaseShape) -> Result<Blocks> {
    let form = Block {
        parallel: method.connection == Connection::Parallel,
        ..form(method.activation, method.profile, method.scale)
    };
    let AdapterSites { vision, text } = method.adapter_sites(base)?;
    let mut layers = Vec::new();
    for (tower, letter, sites) in [(Tower::Vision, 'v', vision), (Tower::Text, 'l', text)] {
        for (index, (layer, _)) in sites.into_iter().enumerate() {
            let block = |sublayer, list: &str| {
                let wanted = [Sublayers::Both, sublayer].contains(&method.sublayers);
                wanted.then(|| form.named(format!("{letter}_{list}_adapters.{index}")))
            };
            let blocks = [
                block(Sublayers::Attention, "attn"),
                block(Sublayers::Mlp, "out"),
            ];
            layers.push((tower, layer, blocks));
        }
    }
    Ok(Blocks {
        layers,
        conditional: conditional(method.towers.conditional(), &form),
        ..Blocks::default()
    })
}

fn shallow(method: &ShallowConfig, base: &BaseShape) -> Result<Blocks> {
    let form = form(method.activation, method.profile, method.scale);
    let AdapterSites { vision, text } = method.adapter_sites(base)?;
    let blocks = |sites: Vec<(usize, usize)>, list: &str| {
        let sites = sites.into_iter().enumerate();
        let sites = sites.map(|(index, (tap, _))| (tap, form.named(format!("{list}.{index}"))));
        sites.collect()
    };
    Ok(Blocks {
        taps: blocks(vision, "vision_extract_adapters"),
        text_taps: blocks(text, "text_extract_adapters"),
        conditional: conditional(method.towers.conditional(), &form),
        ..Blocks::default()
    })
}

/// The block on the text embedding, which reads the embedding whatever the others read.
fn conditional(wanted: bool, form: &Block) -> Option<Block> {
    wanted.then(|| Block {
        parallel: false,
        ..form.named("cond_adapter".into())
    })
}

impl Block {
    fn named(&self, name: String) -> Self {
        Self {
            name,
            ..self.clone()
        }
    }
}
