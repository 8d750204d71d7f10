//! CRIS (Wang et al., CVPR 2022, "CRIS: CLIP-driven referring image segmentation"), as the VLSM papers use it: CLIP's ResNet
//! and text tower, a neck that the text gates, a decoder in which pixels attend to words, and a convolution whose kernel the
//! text predicts.
//!
//! The published code is DerrickWang005/CRIS.pytorch; naamiinepal/medvlsm and naamiinepal/vlsm-adapter have copies of it.
//! Differences between them:
//!
//! - CRIS's logits have a quarter of the input's side, where its loss is computed; the VLSM papers resize them to the
//!   input's side first, as CRIS itself does only for its metrics (bicubic, corners on each other). Here they are always
//!   resized, to the side of the input at hand; the copies resize to 416 whatever comes in.
//! - Prompts: 17 tokens in CRIS, padded with token 0; 77 in the copies, padded with the end-of-text token. The decoder's
//!   padding mask looks for token 0, so that in the copies it finds nothing but a "!", whose token that is, and pixels
//!   attend to the padding. This is [`Profile::Paper`]; in [`Profile::Default`] exactly the padding is masked.
//! - What is trained with whose statistics, see [`Cris`].

mod attention;
mod config;
mod decoder;
mod init;
mod load;
mod method;
mod mode;
mod model;
pub mod names;
mod neck;
mod norm;
mod projector;
mod spec;
mod vision;

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

pub use attention::Attention;
pub use config::{CrisConfig, ResNetConfig};
pub use decoder::{Decoder, DecoderLayer, Place};
pub use init::random_weights;
pub(crate) use load::load;
pub use load::read_weights;
pub use method::part;
pub use mode::{Mode, TrainingPass, update_statistics};
pub use model::CrisModel;
pub use neck::{CoordConv, Neck};
pub use norm::BatchNorm;
pub use projector::Projector;
pub(crate) use spec::Spec;
pub use vision::{AttentionPool, Bottleneck, ResNet};

pub use crate::preprocess::{CLIP_MEAN, CLIP_STD};

use crate::clip::{TextStates, TextTower, TokenBatch};
use crate::error::{ModelError, Result};
use crate::methods::{Adaptation, Profile};
use crate::resize::{Corners, Filter, resize};
use crate::weights;

/// A residual block's output channels, in its planes.
const EXPANSION: usize = 4;

/// Pixels of the input for one of the neck's map, along each side.
const MAP_STRIDE: usize = 16;

/// CLIP with a ResNet: both towers and the text's projection.
#[derive(Module, Debug)]
pub struct Backbone {
    /// The vision tower.
    pub visual: ResNet,
    /// The text tower.
    pub text_model: TextTower,
    /// Text width to the shared embedding, no bias.
    pub text_projection: Linear,
    // For CLIP's own use; kept so that a base is written back whole.
    logit_scale: Param<Tensor<1>>,
}

/// CRIS. Its parameters have the published names, but for the text tower's and the projections of attention, which
/// [`names`] translates.
///
/// **Normalisation.** Running statistics are parameters, named `running_mean` and `running_var`, that no method trains
/// ([`is_statistic`]); a training [`Mode`] notes what moves them. What the published programs do:
///
/// | | vision tower | neck, projector |
/// |---|---|---|
/// | CRIS.pytorch (`model.train()`) and MedVLSM (Lightning 2.0) | batch | batch |
/// | VLSM-Adapter (Lightning 2.2.5) | running | batch |
///
/// In both papers all weights are trained, the vision tower's too. VLSM-Adapter's difference was hardly meant: its CLIP is
/// built in evaluation mode, and Lightning before 2.2 put everything into training mode, later ones do not.
#[derive(Module, Debug)]
pub struct Cris {
    /// CLIP.
    pub backbone: Backbone,
    neck: Neck,
    decoder: Decoder,
    proj: Projector,
    #[module(skip)]
    config: CrisConfig,
    /// Whether all that CLIP lacks is at its start.
    #[module(skip)]
    fresh: bool,
}

/// Features of a batch of images: the neck's maps before the text is added.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// From C3, `[batch, fpn_out[0], side / 16, side / 16]`.
    pub low: Tensor<4>,
    /// From C4, `[batch, fpn_out[1], side / 16, side / 16]`.
    pub middle: Tensor<4>,
    /// From C5, `[batch, fpn_out[2], side / 32, side / 32]`.
    pub high: Tensor<4>,
}

impl ImageFeatures {
    /// The features of some images of a batch, by index, repeated as often as they are named.
    pub fn select(&self, images: &[usize]) -> Self {
        let indices: Vec<i64> = images.iter().map(|image| *image as i64).collect();
        let select = |map: &Tensor<4>| {
            let indices = TensorData::new(indices.clone(), [images.len()]);
            let indices = Tensor::<1, Int>::from_data(indices, &map.device());
            map.clone().select(0, indices)
        };
        Self {
            low: select(&self.low),
            middle: select(&self.middle),
            high: select(&self.high),
        }
    }
}

/// Features of a batch of prompts.
#[derive(Debug, Clone)]
pub struct TextFeatures {
    /// The normalised last state of each token, `[prompts, tokens, text width]`.
    pub words: Tensor<3>,
    /// The projected state at the end-of-text token, `[prompts, projection]`.
    pub state: Tensor<2>,
    /// What is added to the scores of each token, `[prompts, tokens]`: 0, or minus infinity where pixels do not attend to it.
    pub mask: Tensor<2>,
}

impl TextFeatures {
    /// The features of some prompts of a batch, by index, repeated as often as they are named.
    pub fn select(&self, prompts: &[usize]) -> Self {
        let indices: Vec<i64> = prompts.iter().map(|prompt| *prompt as i64).collect();
        let indices = TensorData::new(indices, [prompts.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &self.words.device());
        Self {
            words: self.words.clone().select(0, indices.clone()),
            state: self.state.clone().select(0, indices.clone()),
            mask: self.mask.clone().select(0, indices),
        }
    }

    /// The features of several batches as of one; shorter prompts are padded with tokens that nothing attends to. `None` of none.
    pub fn join(parts: Vec<Self>) -> Option<Self> {
        let longest = parts.iter().map(|part| part.words.dims()[1]).max()?;
        let (mut words, mut states, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            let more = longest - part.words.dims()[1];
            words.push(part.words.pad([(0, 0), (0, more), (0, 0)], 0.0));
            masks.push(part.mask.pad([(0, 0), (0, more)], f32::NEG_INFINITY));
            states.push(part.state);
        }
        Some(Self {
            words: Tensor::cat(words, 0),
            state: Tensor::cat(states, 0),
            mask: Tensor::cat(masks, 0),
        })
    }
}

impl CrisConfig {
    /// Makes the network; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> Cris {
        let text = &self.text_config;
        Cris {
            backbone: Backbone {
                visual: self.vision_config.init(self.projection_dim, device),
                text_model: text.init(device),
                text_projection: LinearConfig::new(text.hidden_size, self.projection_dim)
                    .with_bias(false)
                    .init(device),
                logit_scale: Initializer::Zeros.init([1], device),
            },
            neck: Neck::new(self, device),
            decoder: Decoder::new(self, device),
            proj: Projector::new(self, device),
            config: self.clone(),
            fresh: false,
        }
    }

    /// Side of the logits for an input side, in pixels: the same.
    ///
    /// # Errors
    /// If the side is not a multiple of 32.
    pub fn output_size(&self, image_size: usize) -> Result<usize> {
        config::check_image_size(image_size).map_err(|message| ModelError::ImageSize {
            size: image_size,
            message,
        })?;
        Ok(image_size)
    }
}

impl Cris {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.backbone.text_model.set_recompute(recompute);
    }

    /// The configuration.
    pub fn config(&self) -> &CrisConfig {
        &self.config
    }

    /// Whether what CLIP lacks (neck, decoder, projector and the pool's residual) was not in the file, but is at its start.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The same model with another start of what CLIP lacks, by `seed`, if it was not in the file.
    pub fn restarted(self, seed: u64, trained: impl Fn(&str) -> bool) -> Self {
        if !self.fresh {
            return self;
        }
        let mut start = init::without_clip(&self.config, seed);
        weights::fill(self, |name, _| match trained(name) {
            true => Some(start.remove(name)?.data),
            false => None,
        })
    }

    /// Pixels `[batch, 3, side, side]`, normalised by [`CLIP_MEAN`] and [`CLIP_STD`], to the vision tower's maps C3, C4 and
    /// C5; the side is a multiple of 32. Where the backbone is frozen and the pass is an evaluation, they depend on nothing
    /// that is trained.
    pub fn vision_states(&self, pixels: Tensor<4>, mode: Mode<'_>) -> [Tensor<4>; 3] {
        self.backbone.visual.forward(pixels, mode)
    }

    /// The maps C3, C4 and C5 to features.
    pub fn features(&self, states: [Tensor<4>; 3], mode: Mode<'_>) -> ImageFeatures {
        self.neck.project(states, mode)
    }

    /// Pixels `[batch, 3, side, side]` to features: [`vision_states`](Self::vision_states) and
    /// [`features`](Self::features).
    pub fn encode_image(&self, pixels: Tensor<4>, mode: Mode<'_>) -> ImageFeatures {
        self.features(self.vision_states(pixels, mode), mode)
    }

    /// Tokens to words, pooled state and mask, and the states that the method taps. The text tower has neither batch
    /// normalisation nor dropout, so the mode does not matter.
    pub fn encode_text(
        &self,
        tokens: &TokenBatch,
        profile: Profile,
        method: &dyn Adaptation,
    ) -> (TextFeatures, Vec<Tensor<2>>) {
        let padded;
        let tokens = match profile {
            // The published code sees the padding, and so must have all of it.
            Profile::Paper => {
                let pad = self.config.text_config.pad_token_id;
                padded = tokens.padded(self.context_length(method), pad);
                &padded
            }
            Profile::Default => tokens,
        };
        let (words, states) = self.backbone.text_model.words(tokens, method);
        let TextStates { pooled, tapped } = states;
        let length = tokens.length();
        let hidden: Vec<bool> = match profile {
            Profile::Paper => tokens.ids().iter().map(|id| *id == 0).collect(),
            Profile::Default => {
                let ends = tokens.ends().iter();
                ends.flat_map(|end| (0..length).map(move |token| token > *end))
                    .collect()
            }
        };
        let added = |hidden| if hidden { f32::NEG_INFINITY } else { 0.0 };
        let mask: Vec<f32> = hidden.into_iter().map(added).collect();
        let device = words.device().without_autodiff();
        let features = TextFeatures {
            mask: Tensor::from_data(
                TensorData::new(mask, [tokens.len(), length]),
                (&device, words.dtype()),
            ),
            state: self.backbone.text_projection.forward(pooled),
            words,
        };
        (features, tapped)
    }

    /// Features of a batch and as many prompts' to logits `[batch, side, side]`.
    pub fn decode(
        &self,
        features: &ImageFeatures,
        text: &TextFeatures,
        mode: Mode<'_>,
    ) -> Tensor<3> {
        let map = self
            .neck
            .forward(features.clone(), text.state.clone(), mode);
        let [_, _, rows, columns] = map.dims();
        let map = self.decoder.forward(map, text, mode);
        let logits = self.proj.forward(map, text.state.clone(), mode);
        let side = [rows, columns].map(|places| places * MAP_STRIDE);
        resize(logits, side, Filter::Bicubic, Corners::Centres).squeeze_dim(1)
    }

    /// Makes the batch of tokens that [`encode_text`](Self::encode_text) takes.
    ///
    /// # Errors
    /// If a prompt is too long or has an id outside the vocabulary.
    pub fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        let tokens = TokenBatch::new(prompts, &self.config.text_config)?;
        tokens.expect_at_most(self.config.context_length)
    }

    /// Maximum number of tokens of a prompt, without a method's extra tokens.
    pub(crate) fn context_length(&self, method: &dyn Adaptation) -> usize {
        let positions = self.config.text_config.max_position_embeddings;
        let most = positions.saturating_sub(method.extra_tokens());
        most.min(self.config.context_length)
    }
}

/// Whether a parameter is a running statistic, which changes in training although nothing trains it, and so belongs in a
/// file of what was trained.
pub fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}
