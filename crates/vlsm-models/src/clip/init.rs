//! Random initialisation of CLIP's towers.

use rand::distr::Distribution;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::config::{TextConfig, VisionConfig};

/// Settings of CLIP's initialisation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClipInit<'a> {
    pub(crate) text: &'a TextConfig,
    pub(crate) vision: &'a VisionConfig,
    /// The logarithm of the temperature's inverse.
    pub(crate) logit_scale: f64,
    /// Scales every random weight.
    pub(crate) factor: f64,
}

impl<'a> ClipInit<'a> {
    /// The initialisation of CLIP as published.
    pub(crate) fn new(text: &'a TextConfig, vision: &'a VisionConfig) -> Self {
        Self {
            text,
            vision,
            logit_scale: LOGIT_SCALE,
            factor: 1.0,
        }
    }

    /// The values of a parameter, as Transformers' `CLIPSegPreTrainedModel` draws them, except for the position embeddings
    /// of a vision tower. `None` for a layer that CLIP does not have.
    pub(crate) fn values(
        self,
        name: &str,
        shape: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Option<Vec<f32>> {
        let count = shape.iter().product();
        let (parent, field) = name.rsplit_once('.').unwrap_or(("", name));
        let module = parent.rsplit('.').next().unwrap_or(parent);
        let is_text = name.starts_with("clip.text_model.");
        // CLIPSeg's decoder layers are initialised by the vision tower's depth, as in Transformers.
        let depth = if is_text {
            self.text.num_hidden_layers
        } else {
            self.vision.num_hidden_layers
        } as f64;
        let std = match (module, field) {
            (_, "logit_scale") => return Some(vec![self.logit_scale as f32]),
            (_, "class_embedding") => (self.vision.hidden_size as f64).powf(-0.5),
            ("position_embedding", _) if !is_text => {
                return Some(grid_positions(shape[0], shape[1]));
            }
            (
                "token_embedding"
                | "position_embedding"
                | "token_type_embedding"
                | "patch_embedding",
                _,
            ) => 0.02,
            (norm, "weight") if norm.contains("norm") || norm == "pre_layrnorm" => {
                return Some(vec![1.0; count]);
            }
            ("q_proj" | "k_proj" | "v_proj", "weight") => {
                (shape[1] as f64).powf(-0.5) * (2.0 * depth).powf(-0.5)
            }
            ("out_proj", "weight") => (shape[1] as f64).powf(-0.5),
            ("fc1", "weight") => (2.0 * shape[1] as f64).powf(-0.5),
            ("fc2", "weight") => (shape[0] as f64).powf(-0.5) * (2.0 * depth).powf(-0.5),
            ("text_projection" | "visual_projection", _) => (shape[1] as f64).powf(-0.5),
            _ => return None,
        };
        let draw = |_| {
            let value: f64 = StandardNormal.sample(rng);
            (value * std * self.factor) as f32
        };
        Some((0..count).map(draw).collect())
    }
}

/// CLIP's initial `logit_scale`.
pub(crate) const LOGIT_SCALE: f64 = 2.6592;

/// Position embeddings `[1 + grid * grid, width]` of a vision tower: sines and cosines of column and row, with waves from
/// 4 patches to 64; 0 for the class token.
///
/// A tower that is trained from scratch needs position information before it can recognise any shape. With random
/// embeddings (Transformers' start) it has to learn it position by position; sines and cosines give it from the start
/// (Beyer et al. 2022, "Better plain ViT baselines for ImageNet-1k"). Their amplitude must be large, because the layer norm
/// that follows keeps only the relative size of the summands and the patch embeddings grow severalfold in training. With a
/// tenth of this amplitude the model ignored position for the first 9,000 steps.
fn grid_positions(tokens: usize, width: usize) -> Vec<f32> {
    const STRENGTH: f64 = 2.0;
    let grid = (tokens - 1).isqrt().max(1);
    let waves = (width / 4).max(1);
    let mut values = vec![0.0; width];
    for token in 0..tokens - 1 {
        for channel in 0..width {
            let (kind, wave) = (channel / waves, channel % waves);
            let along = if kind < 2 { token % grid } else { token / grid };
            let length = 4.0 * 16f64.powf(wave as f64 / waves as f64);
            let phase = std::f64::consts::TAU * along as f64 / length;
            let value = if kind.is_multiple_of(2) {
                phase.sin()
            } else {
                phase.cos()
            };
            values.push((STRENGTH * value) as f32);
        }
    }
    values
}
