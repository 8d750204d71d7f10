//! What methods need to know about a CLIPSeg.

use super::ClipSegConfig;
use crate::methods::{BaseShape, Part, Profile};

impl ClipSegConfig {
    /// The tapped layers under a profile: those of the published code if they differ, else the configuration's.
    pub fn taps(&self, profile: Profile) -> &[usize] {
        match (profile, &self.published_taps) {
            (Profile::Paper, Some(taps)) => taps,
            _ => &self.extract_layers,
        }
    }

    /// The shape for methods.
    pub fn shape(&self, profile: Profile) -> BaseShape {
        let taps = self.taps(profile).to_vec();
        let layers = taps.iter().max().map_or(0, |last| last + 1);
        BaseShape {
            name: "CLIPSeg",
            vision: Ok(self.vision_config.shape("clip.vision_model.", layers)),
            text: self.text_config.shape("clip.text_model."),
            context: self.text_config.max_position_embeddings,
            projection: self.projection_dim,
            taps,
            batch_norm: false,
            pairs: true,
        }
    }
}

/// The part of a CLIPSeg that a parameter belongs to, by its name in the base. The logits depend neither on CLIP's
/// projection of images, the norm before it and the temperature, nor on layers after the last tap, which are not run.
pub fn part(name: &str) -> Part {
    let untrained = [
        "clip.logit_scale",
        "clip.visual_projection.",
        "clip.vision_model.post_layernorm.",
    ];
    let layer = Part::layer_in(name);
    if untrained.iter().any(|part| name.starts_with(part)) {
        Part::Untrained
    } else if name.starts_with("clip.vision_model.") {
        Part::Vision { layer }
    } else if name.starts_with("clip.") {
        Part::Text { layer }
    } else {
        Part::Decoder
    }
}
