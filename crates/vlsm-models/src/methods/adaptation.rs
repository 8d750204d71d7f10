//! What a method can do to a model: the hooks that towers and models call.

use std::fmt::Debug;

use burn::module::Module;
use burn::tensor::Tensor;

use super::{AdapterBlock, Change, LayerChanges, LayerPart, Start, Tensors};
use crate::error::Result;

/// One of the two towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tower {
    /// The vision tower.
    Vision,
    /// The text tower.
    Text,
}

/// The part of a base that a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The vision tower, with its projection where the logits depend on it.
    Vision {
        /// The transformer layer, from 0; `None` for embeddings and everything else outside the layers.
        layer: Option<usize>,
    },
    /// The text tower and its projection.
    Text {
        /// The transformer layer, from 0; `None` for embeddings, the final norm and the projection.
        layer: Option<usize>,
    },
    /// What turns the towers' states into masks: CLIPSeg's decoder, SAN's side network, CRIS's neck, decoder and projector.
    Decoder,
    /// Parameters that no gradient reaches: the logits do not depend on them, or they are running statistics.
    Untrained,
}

impl Part {
    /// The transformer layer in a parameter's name, such as 3 in `encoder.layers.3.mlp.fc1.bias`.
    pub(crate) fn layer_in(name: &str) -> Option<usize> {
        let (_, rest) = name.split_once("encoder.layers.")?;
        rest.split('.').next()?.parse().ok()
    }
}

/// What a method changes in training. The states of an unchanged part are the base's and can be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touches {
    /// Something that the vision tower's states depend on.
    pub vision: bool,
    /// Something that the text tower's states depend on, its projection included.
    pub text: bool,
    /// The base's decoder.
    pub decoder: bool,
}

/// What a method lets the text tower's states depend on in addition to the prompt. A model then encodes texts in
/// [`decode`](crate::SegmentationModel::decode), for each pair of an image and a prompt, and its text states are the tokens. So what
/// is kept of a prompt or an image never depends on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pairing {
    /// Nothing.
    #[default]
    None,
    /// CLIP's embedding of the image.
    Embedding,
    /// The image's states in the layers, whose own states then depend on the prompt: both towers run in step.
    Layers,
}

/// Random numbers of a training step: for each pair of an image and a prompt its number among the step's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draws {
    /// The step's seed.
    pub seed: u64,
    /// The pairs' numbers.
    pub numbers: Vec<usize>,
}

/// What a method adds inside one layer of a tower.
#[derive(Debug, Clone, Copy, Default)]
pub struct LayerAdapters<'a> {
    /// The block on the attention sublayer.
    pub attention: Option<&'a AdapterBlock>,
    /// The block on the MLP sublayer.
    pub mlp: Option<&'a AdapterBlock>,
    /// Changes of the layer's own parameters.
    pub changes: Option<&'a dyn LayerChanges>,
}

impl<'a> LayerAdapters<'a> {
    /// The change of a part of the layer, if it has one.
    pub(crate) fn change(&self, part: LayerPart) -> Option<&'a dyn Change> {
        self.changes?.of(part)
    }
}

/// A method applied to a model. Each hook is called at one point of every model and does nothing by default, so a method
/// implements only what it changes.
pub trait Adaptation: Debug {
    /// What the method changes in training. Must cover everything that the other hooks change.
    fn touches(&self) -> Touches {
        Touches::default()
    }

    /// Where the method touches the vision tower, the first layer that it changes, from 0: the state before it is the base's and
    /// can be cached. 0 also stands for the embeddings and the extra tokens of the input.
    fn first_vision_layer(&self) -> usize {
        0
    }

    /// Whether a parameter of the base is trained: by default those of the decoder, if the method [touches](Self::touches) it.
    /// Parameters that the method adds always are.
    fn trains(&self, part: Part, _name: &str) -> bool {
        self.touches().decoder && part == Part::Decoder
    }

    /// Initial values that depend on the base's parameters, by their names in adapter files.
    ///
    /// # Errors
    /// If the base does not have what they are computed from.
    fn start(&self, _base: &dyn Start) -> Result<Tensors> {
        Ok(Tensors::new())
    }

    /// Whether one of its own parameters, by its name in adapter files, is part of a change of the layers' parameters, so that the
    /// base has it once the changes are merged.
    fn merges(&self, _name: &str) -> bool {
        false
    }

    /// The same method once its changes of the layers' parameters have been merged into the base.
    fn without_changes(self) -> Self
    where
        Self: Sized,
    {
        self
    }

    /// Extra tokens `[1, count, width]` that enter a layer of a tower, the same for each image or prompt; `[rows, count, width]` if
    /// each row of the batch has its own.
    ///
    /// For layer 0 they join the input, in the text tower between the start token and the words, before positions are added
    /// (CoOp, Zhou et al. 2022); in the vision tower after the patches, after position embeddings are added and before CLIP's
    /// norm (MaPLe, Khattak et al. 2023). For a deeper layer they replace the extra tokens that come out of the layer before
    /// it (VPT-deep, Jia et al. 2022). The tower drops them from every state that it returns.
    fn tokens(&self, _tower: Tower, _layer: usize) -> Option<Tensor<3>> {
        None
    }

    /// Number of extra tokens in a text. They use context length in addition to the prompt.
    fn extra_tokens(&self) -> usize {
        let tokens = self.tokens(Tower::Text, 0);
        tokens.map_or(0, |tokens| tokens.dims()[1])
    }

    /// What the text tower's states depend on in addition to the prompt.
    fn pairing(&self) -> Pairing {
        Pairing::None
    }

    /// The hooks of the text tower for pairs of an image and a prompt, given CLIP's embeddings `[pairs, projection]` of the images:
    /// of a method with [`Pairing::Embedding`].
    fn for_images(&self, _embeddings: Tensor<2>) -> Option<Box<dyn Adaptation + '_>> {
        None
    }

    /// The states `[pairs, image tokens, width]` and `[pairs, text tokens, width]` that enter a layer of the towers, of those that come out
    /// of the layer before it: of a method with [`Pairing::Layers`]. The first layer where they differ is the
    /// [`first_vision_layer`](Self::first_vision_layer). In training, `draws` are the step's random numbers.
    fn exchange(
        &self,
        _layer: usize,
        vision: Tensor<3>,
        text: Tensor<3>,
        _draws: Option<&Draws>,
    ) -> (Tensor<3>, Tensor<3>) {
        (vision, text)
    }

    /// Blocks and changes of parameters in a layer of a tower.
    fn layer(&self, _tower: Tower, _layer: usize) -> LayerAdapters<'_> {
        LayerAdapters::default()
    }

    /// A vision state `[batch, tokens, width]` on its way to the decoder; `tap` is its number in
    /// [`BaseShape::taps`](super::BaseShape::taps).
    fn tap(&self, _tap: usize, state: Tensor<3>) -> Tensor<3> {
        state
    }

    /// The layers of the text tower whose states [`text_embedding`](Self::text_embedding) takes.
    fn text_taps(&self) -> &[usize] {
        &[]
    }

    /// The projected text embedding `[prompts, projection]` on its way to the decoder. `tapped` are the text states
    /// `[prompts, width]` after the layers of [`text_taps`](Self::text_taps), at the token that is pooled.
    fn text_embedding(&self, embedding: Tensor<2>, _tapped: Vec<Tensor<2>>) -> Tensor<2> {
        embedding
    }
}

/// An unchanged base: no hook does anything and nothing is trained.
#[derive(Module, Debug, Default)]
pub struct Unadapted;

impl Adaptation for Unadapted {}
