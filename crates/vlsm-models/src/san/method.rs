//! What methods need to know about a SAN.

use super::{San, SanConfig};
use crate::methods::{BaseShape, Part, Profile};

impl SanConfig {
    /// The shape that methods adapt to. The taps are the states of CLIP that are fused into the side network, by the number
    /// of layers before them.
    pub fn shape(&self, profile: Profile) -> BaseShape {
        let mut taps: Vec<usize> = self.fusions(profile).iter().map(|f| f.clip).collect();
        taps.sort_unstable();
        let vision = &self.vision_config;
        BaseShape {
            name: "SAN",
            vision: Ok(vision.shape("clip.vision_model.", vision.num_hidden_layers)),
            text: self.text_config.shape("clip.text_model."),
            context: self.text_config.max_position_embeddings,
            projection: self.projection_dim,
            taps,
            batch_norm: false,
            pairs: false,
        }
    }
}

/// The part of a SAN that a parameter belongs to, by its name in the base. Masks of one prompt depend neither on CLIP's
/// temperature nor on the background's embedding.
pub fn part(name: &str) -> Part {
    let layer = Part::layer_in(name);
    if San::is_side(name) {
        Part::Decoder
    } else if ["bg_embed", "clip.logit_scale"].contains(&name) {
        Part::Untrained
    } else if name.starts_with("clip.text_") {
        Part::Text { layer }
    } else {
        Part::Vision { layer }
    }
}
