//! CLIP as a whole: both towers, and the projections to the embedding that they share.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::config::{TextConfig, VisionConfig};
use super::init::LOGIT_SCALE;
use super::{TextStates, TextTower, TokenBatch, VisionTower};
use crate::methods::Adaptation;

/// CLIP: both towers and their projections.
#[derive(Module, Debug)]
pub struct Clip {
    pub(crate) text_model: TextTower,
    pub(crate) vision_model: VisionTower,
    pub(crate) text_projection: Linear,
    pub(crate) visual_projection: Linear,
    /// The logarithm of the temperature's inverse, `[1]`.
    pub(crate) logit_scale: Param<Tensor<1>>,
}

impl Clip {
    /// Makes the network; parameters are initialised when first used.
    pub fn new(
        text: &TextConfig,
        vision: &VisionConfig,
        projection: usize,
        device: &Device,
    ) -> Self {
        let linear = |width| {
            LinearConfig::new(width, projection)
                .with_bias(false)
                .init(device)
        };
        let scale = Initializer::Constant { value: LOGIT_SCALE };
        Self {
            text_model: text.init(device),
            vision_model: vision.init(device),
            text_projection: linear(text.hidden_size),
            visual_projection: linear(vision.hidden_size),
            logit_scale: scale.init([1], device),
        }
    }

    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.text_model.set_recompute(recompute);
        self.vision_model.set_recompute(recompute);
    }

    /// Pixels `[batch, 3, side, side]`, normalised, to projected embeddings `[batch, projection]`, not of length 1.
    pub fn embed_images(&self, pixels: Tensor<4>, method: &dyn Adaptation) -> Tensor<2> {
        let last = self.vision_model.layers().len();
        let mut states = self.vision_model.forward(pixels, &[last], method);
        let state = states.swap_remove(0);
        let class = self.vision_model.normalise_class(state.narrow(1, 0, 1));
        self.visual_projection.forward(class.squeeze_dim::<2>(1))
    }

    /// Tokens to projected embeddings `[prompts, projection]`, not of length 1, and the states that the method taps.
    pub fn embed_text(
        &self,
        tokens: &TokenBatch,
        method: &dyn Adaptation,
    ) -> (Tensor<2>, Vec<Tensor<2>>) {
        let TextStates { pooled, tapped } = self.text_model.forward(tokens, method);
        (self.text_projection.forward(pooled), tapped)
    }

    /// What cosines are multiplied by to be logits, `[1]`.
    pub fn scale(&self) -> Tensor<1> {
        self.logit_scale.val().exp()
    }
}

/// `[..., width]` divided by its Euclidean norm.
pub(crate) fn unit_length<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let norm = x.clone().powf_scalar(2.0).sum_dim(D - 1).sqrt();
    x / norm.clamp_min(1e-12)
}

/// The embedding of each class, of length 1, from its embeddings in several templates, `[classes, projection]` each: the mean of the
/// normalised embeddings, normalised.
pub(crate) fn mean_direction(templates: Vec<Tensor<2>>) -> Tensor<2> {
    let templates: Vec<_> = templates.into_iter().map(unit_length).collect();
    let mean = Tensor::stack::<3>(templates, 0).mean_dim(0);
    unit_length(mean.squeeze_dim::<2>(0))
}
