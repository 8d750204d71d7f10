//! CLIPSeg (Lüddecke and Ecker 2022): CLIP's towers and a decoder conditioned on the text.

mod config;
mod decoder;
mod in_step;
mod init;
mod load;
mod method;
mod model;
pub(crate) mod release;
mod spec;
mod upsample;

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

pub use config::ClipSegConfig;
pub use decoder::Decoder;

pub use init::{random_decoder, random_weights};
pub(crate) use load::load;
pub use method::part;
pub use model::ClipSegModel;
pub(crate) use spec::Spec;
pub use upsample::{ComplexUpsample, StridedConvTranspose, Upsample};

use crate::clip::{TextModel, VisionTower};
use crate::precision::Precision;

/// CLIP: both towers and their projections.
#[derive(Module, Debug)]
pub struct Clip {
    /// The text tower.
    pub text_model: TextModel,
    /// The vision tower.
    pub vision_model: VisionTower,
    /// The pooled text state to the shared embedding, no bias.
    pub text_projection: Linear,
    /// The normalised class token to the shared embedding, no bias. Methods can use that embedding; the decoder does not.
    pub visual_projection: Linear,
    // Used only by CLIP itself (the comparison of images with texts); kept so that a written base is complete.
    logit_scale: Param<Tensor<1>>,
}

/// CLIPSeg as Transformers' `CLIPSegForImageSegmentation`, with the same parameter names.
#[derive(Module, Debug)]
pub struct ClipSeg {
    /// The towers.
    pub clip: Clip,
    /// The decoder.
    pub decoder: Decoder,
    /// Its configuration.
    #[module(skip)]
    pub config: ClipSegConfig,
}

impl ClipSeg {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.clip.text_model.set_recompute(recompute);
        self.clip.vision_model.set_recompute(recompute);
        self.decoder.set_recompute(recompute);
    }

    /// See [`EncoderLayer::set_precision`](crate::clip::EncoderLayer::set_precision).
    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.clip.text_model.set_precision(precision);
        self.clip.vision_model.set_precision(precision);
    }
}

impl ClipSegConfig {
    /// Makes the model; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> ClipSeg {
        let projection = |width| {
            LinearConfig::new(width, self.projection_dim)
                .with_bias(false)
                .init(device)
        };
        ClipSeg {
            clip: Clip {
                text_model: TextModel::new(&self.text_config, device),
                vision_model: self.vision_config.init(device),
                text_projection: projection(match &self.text_config.bert {
                    Some(bert) => bert.projection_hidden,
                    None => self.text_config.hidden_size,
                }),
                visual_projection: projection(self.vision_config.hidden_size),
                logit_scale: Initializer::Constant {
                    value: self.logit_scale_init_value,
                }
                .init([1], device),
            },
            decoder: Decoder::new(self, device),
            config: self.clone(),
        }
    }
}
