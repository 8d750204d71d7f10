//! What methods need to know about a CRIS.

use super::{CrisConfig, is_statistic};
use crate::methods::{BaseShape, Part};

impl CrisConfig {
    /// The shape that methods adapt to, the same under both profiles.
    pub fn shape(&self) -> BaseShape {
        BaseShape {
            name: "CRIS",
            vision: Err("a ResNet"),
            text: self.text_config.shape("backbone.text_model."),
            context: self.text_config.max_position_embeddings,
            projection: self.projection_dim,
            taps: Vec::new(),
            batch_norm: true,
            pairs: false,
        }
    }
}

/// The part of a CRIS that a parameter belongs to, by its name in the base. The papers train all of them but CLIP's
/// temperature and the running statistics, 147 million in the published size; the published code's `freeze_encoder` trains
/// what is [`Part::Decoder`] here.
pub fn part(name: &str) -> Part {
    let layer = Part::layer_in(name);
    if name == "backbone.logit_scale" || is_statistic(name) {
        Part::Untrained
    } else if name.starts_with("backbone.text_") {
        Part::Text { layer }
    } else if name.starts_with("backbone.") {
        Part::Vision { layer: None }
    } else {
        Part::Decoder
    }
}
