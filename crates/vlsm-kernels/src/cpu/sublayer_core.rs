//! The part of a sublayer that differs by its kind, and what its passes are given.

use std::fmt::Debug;

use super::half::Kept;
use super::panels::{Panels, Rows};

/// The operation that a sublayer is named after: attention, an MLP, or an adapter block without a sublayer.
pub(crate) trait Core: Sync {
    /// What the backward pass needs from the forward pass.
    type Saved: Debug + Send + Sync + 'static;

    /// Whether each token is processed by itself, so that images can share panels.
    const TOKENWISE: bool;

    /// Panels to panels in blocks of [`BLOCK`](super::product::BLOCK). The saved tensors are complete only if `save` asks for
    /// them.
    fn forward(&self, x: Panels, group: Group, save: Save) -> (Panels, Self::Saved);

    /// The gradients at the input and at weights and biases in turn, those that are needed, given the gradient at the output.
    /// `x` computes the input again.
    fn backward(
        &self,
        x: impl Fn() -> Panels,
        saved: &Self::Saved,
        grad: Panels,
        group: Group,
        needed: NeededGrads,
    ) -> (Option<Panels>, Vec<Vec<f32>>);
}

/// What a forward pass saves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Save {
    /// Nothing.
    Nothing,
    /// What the backward pass needs. For a trained layer of the core this includes its input: to compute it again, with all of
    /// them trained, would take an eighth of the time of a step to save a twentieth of its memory.
    ForBackward {
        /// The layers of the core that are trained.
        trained: [bool; 4],
        /// Whether large tensors are kept in half precision.
        half: bool,
    },
}

impl Save {
    /// Whether there will be a backward pass.
    pub(crate) fn anything(self) -> bool {
        matches!(self, Self::ForBackward { .. })
    }

    /// Panels as they are kept.
    pub(crate) fn kept(self, panels: Panels) -> Kept {
        Kept::new(panels, matches!(self, Self::ForBackward { half: true, .. }))
    }

    /// Whether the input of a layer is saved.
    pub(crate) fn input_of(self, layer: usize) -> bool {
        matches!(self, Self::ForBackward { trained, .. } if trained[layer])
    }
}

/// A group of images that goes through a sublayer together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    /// Its shape.
    pub(crate) shape: Rows,
    /// Threads available to it.
    pub(crate) threads: usize,
}

/// Which gradients of a sublayer are needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NeededGrads {
    /// That at the input.
    pub(crate) input: bool,
    /// Those at weight and bias of each of the core's layers.
    pub(crate) layers: [bool; 4],
    /// Those at the adapter's parameters.
    pub(crate) adapter: bool,
    /// Those at scale and shift of the normalisation.
    pub(crate) norm: bool,
}

impl NeededGrads {
    /// Whether the gradient at the core's input is needed.
    pub(crate) fn core_input(self) -> bool {
        self.input || self.norm
    }

    /// Whether a gradient at one of the core's parameters is needed.
    pub(crate) fn core_parameters(self) -> bool {
        self.layers.contains(&true)
    }
}
