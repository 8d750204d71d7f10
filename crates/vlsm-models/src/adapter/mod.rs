//! VLSM adapters (Dhakal et al. 2024): small trained blocks in or beside a frozen CLIPSeg.

mod block;
mod dense;
mod file;
mod init;
mod lora;
mod shallow;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

pub use block::AdapterBlock;
pub use dense::DenseAdapters;
pub use file::AdapterFile;
pub(crate) use init::initialised;
pub(crate) use lora::changed;
pub use lora::{LoraAdapters, LoraLayer, LowRank};
pub use shallow::ShallowAdapters;

use crate::clipseg::ClipSegConfig;
use crate::error::Result;
use crate::method::{MethodConfig, MethodKind};

/// The adapters in one layer of a tower.
#[derive(Debug, Clone, Copy, Default)]
pub struct LayerAdapters<'a> {
    /// The block of the attention.
    pub attention: Option<&'a AdapterBlock>,
    /// The block of the MLP.
    pub output: Option<&'a AdapterBlock>,
    /// Changes of the layer's matrices.
    pub lora: Option<&'a LoraLayer>,
}

/// The adapters of a method.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Adapters {
    /// Blocks inside the towers' layers.
    Dense(DenseAdapters),
    /// Blocks between the towers and the decoder.
    Shallow(ShallowAdapters),
    /// Changes of the matrices in the towers' layers.
    Lora(LoraAdapters),
}

impl Adapters {
    /// Makes the adapters of a method for a base, none where it trains or leaves the base itself;
    /// parameters are initialised when first used.
    ///
    /// # Errors
    /// If the method does not go with the base.
    pub fn new(
        method: &MethodConfig,
        base: &ClipSegConfig,
        device: &Device,
    ) -> Result<Option<Self>> {
        method.validate(base)?;
        Ok(match method.kind {
            MethodKind::Dense => Some(Self::Dense(DenseAdapters::new(method, base, device))),
            MethodKind::Shallow => Some(Self::Shallow(ShallowAdapters::new(method, base, device))),
            MethodKind::Lora => Some(Self::Lora(LoraAdapters::new(method, base, device))),
            MethodKind::Decoder | MethodKind::Full | MethodKind::ZeroShot => None,
        })
    }

    /// The adapters in layer `index` of the vision tower.
    pub fn vision_layer(&self, index: usize) -> LayerAdapters<'_> {
        match self {
            Self::Dense(dense) => dense.vision_layer(index),
            Self::Lora(lora) => lora.vision_layer(index),
            Self::Shallow(_) => LayerAdapters::default(),
        }
    }

    /// The adapters in layer `index` of the text tower.
    pub fn text_layer(&self, index: usize) -> LayerAdapters<'_> {
        match self {
            Self::Dense(dense) => dense.text_layer(index),
            Self::Lora(lora) => lora.text_layer(index),
            Self::Shallow(_) => LayerAdapters::default(),
        }
    }

    /// Tapped vision states on their way to the decoder, each `[batch, tokens, width]`.
    pub fn adapt_taps(&self, tapped: Vec<Tensor<3>>) -> Vec<Tensor<3>> {
        match self {
            Self::Shallow(shallow) => shallow.adapt_taps(tapped),
            Self::Dense(_) | Self::Lora(_) => tapped,
        }
    }

    /// The layers of the text tower whose states [`adapt_text`](Self::adapt_text) wants.
    pub fn text_taps(&self) -> &[usize] {
        match self {
            Self::Shallow(shallow) => shallow.text_taps(),
            Self::Dense(_) | Self::Lora(_) => &[],
        }
    }

    /// The projected text embedding `[prompts, projection]` on its way to the decoder, given the
    /// text states `[prompts, width]` after the layers of [`text_taps`](Self::text_taps).
    pub fn adapt_text(&self, embedding: Tensor<2>, tapped: Vec<Tensor<2>>) -> Tensor<2> {
        match self {
            Self::Dense(dense) => dense.adapt_text(embedding),
            Self::Lora(lora) => lora.adapt_text(embedding),
            Self::Shallow(shallow) => shallow.adapt_text(embedding, tapped),
        }
    }
}

/// The block on the projected text embedding, where a method has it.
fn conditional_block(
    method: &MethodConfig,
    base: &ClipSegConfig,
    device: &Device,
) -> Option<AdapterBlock> {
    let (width, bottleneck) = (base.projection_dim, method.cond_bottleneck);
    let wanted = method.towers.conditional();
    wanted.then(|| AdapterBlock::new(width, bottleneck, method, device))
}

/// The projected text embedding, `[prompts, projection]`, behind the block on it, if there is one.
fn conditioned(block: &Option<AdapterBlock>, embedding: Tensor<2>) -> Tensor<2> {
    match block {
        Some(block) => block.forward(embedding),
        None => embedding,
    }
}
