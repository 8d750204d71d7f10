//! Configuration of a CRIS.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::EXPANSION;
use crate::clip::config::{TextConfig, check_sizes};
use crate::error::{ModelError, Result};
use crate::files::read_config;
use crate::tensor_file::HostTensor;

/// CLIP's ResNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResNetConfig {
    /// Blocks of each stage.
    pub layers: [usize; 4],
    /// Channels after the stem; stages have 4, 8, 16 and 32 times as many.
    pub width: usize,
    /// Input side, in pixels, that the attention pool's position embeddings are for.
    pub image_size: usize,
    /// Heads of the attention pool.
    pub heads: usize,
}

impl Default for ResNetConfig {
    /// CLIP's RN50.
    fn default() -> Self {
        Self {
            layers: [3, 4, 6, 3],
            width: 64,
            image_size: 224,
            heads: 32,
        }
    }
}

impl ResNetConfig {
    /// Channels of each stage's map.
    pub(super) fn channels(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|stage| (self.width << stage) * EXPANSION)
    }

    /// Side of the map that the position embeddings are for.
    pub(super) fn native_grid(&self) -> usize {
        self.image_size / STRIDE
    }
}

/// Input pixels per pixel of the deepest map, along each side.
pub(super) const STRIDE: usize = 32;

/// A CRIS: CLIP's towers, neck, decoder and projector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CrisConfig {
    /// The vision tower.
    pub vision_config: ResNetConfig,
    /// The text tower.
    pub text_config: TextConfig,
    /// Width of CLIP's shared embedding: channels of the deepest map and of the pooled text state.
    pub projection_dim: usize,
    /// Channels in the neck of what comes from C3, C4 and C5. The second is the decoder's width too, which must be the text
    /// tower's.
    pub fpn_out: [usize; 3],
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Attention heads of a decoder layer.
    pub decoder_heads: usize,
    /// MLP width of a decoder layer.
    pub decoder_hidden: usize,
    /// Dropout in the decoder: 0.1 in CRIS, 0.2 in the VLSM papers.
    pub dropout: f64,
    /// Side of the square input, in pixels.
    pub image_size: usize,
    /// Maximum number of tokens of a prompt: 17 in CRIS, all of CLIP's 77 in the VLSM papers.
    pub context_length: usize,
}

impl Default for CrisConfig {
    /// RN50 as in the VLSM papers.
    fn default() -> Self {
        Self {
            vision_config: ResNetConfig::default(),
            text_config: TextConfig {
                pad_token_id: 49407,
                ..TextConfig::default()
            },
            projection_dim: 1024,
            fpn_out: [256, 512, 1024],
            decoder_layers: 3,
            decoder_heads: 8,
            decoder_hidden: 2048,
            dropout: 0.2,
            image_size: 416,
            context_length: 77,
        }
    }
}

impl CrisConfig {
    /// A small CRIS with CLIP's vocabulary, for 128 pixels: 1.2 million parameters in addition to the token
    /// table of 3.2 million.
    pub fn tiny() -> Self {
        Self {
            vision_config: ResNetConfig {
                layers: [1, 1, 2, 1],
                width: 8,
                image_size: 128,
                heads: 4,
            },
            text_config: TextConfig {
                hidden_size: 64,
                intermediate_size: 256,
                num_hidden_layers: 4,
                num_attention_heads: 2,
                pad_token_id: 49407,
                ..TextConfig::default()
            },
            projection_dim: 128,
            fpn_out: [32, 64, 128],
            decoder_layers: 2,
            decoder_heads: 4,
            decoder_hidden: 256,
            image_size: 128,
            ..Self::default()
        }
    }

    /// Reads a `config.json`, whose `model_type` is `cris`.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, is not a CRIS's, or describes a model that cannot be built; the field is
    /// named.
    pub fn read(path: &Path) -> Result<Self> {
        read_config(path, Self::parse)
    }

    /// Parses a `config.json`, as [`read`](Self::read) does.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
        let kind = value.get("model_type").and_then(|kind| kind.as_str());
        if kind != Some("cris") {
            let kind = kind.map_or("missing".into(), |kind| format!("\"{kind}\""));
            return Err(format!("`model_type` is {kind}, not \"cris\""));
        }
        let config: Self =
            serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
        config.validate()?;
        Ok(config)
    }

    /// The `config.json` that [`read`](Self::read) reads back.
    ///
    /// # Errors
    /// If the configuration cannot be serialised.
    pub fn to_json(&self) -> Result<serde_json::Value> {
        let value = serde_json::to_value(self);
        let mut value = value.map_err(ModelError::serialise("the configuration"))?;
        if let Some(object) = value.as_object_mut() {
            object.insert("model_type".into(), "cris".into());
        }
        Ok(value)
    }

    /// Returns the reason why no model can be built from this configuration.
    pub(super) fn validate(&self) -> std::result::Result<(), String> {
        check_sizes(self)?;
        let (vision, text) = (&self.vision_config, &self.text_config);
        let positive = [
            ("vision_config.layers", vision.layers.into_iter().min()),
            ("vision_config.heads", Some(vision.heads)),
            ("text_config.vocab_size", Some(text.vocab_size)),
            (
                "text_config.intermediate_size",
                Some(text.intermediate_size),
            ),
            (
                "text_config.num_attention_heads",
                Some(text.num_attention_heads),
            ),
            ("projection_dim", Some(self.projection_dim)),
            ("fpn_out", self.fpn_out.into_iter().min()),
            ("decoder_heads", Some(self.decoder_heads)),
            ("decoder_hidden", Some(self.decoder_hidden)),
        ];
        for (field, value) in positive {
            if value == Some(0) {
                return Err(format!("`{field}` is 0"));
            }
        }
        if vision.width < 2 || vision.width % 2 != 0 {
            return Err(format!(
                "`vision_config.width` is {}; the stem has half as many channels, so it must be even",
                vision.width
            ));
        }
        if vision.native_grid() == 0 {
            return Err(format!("`vision_config.image_size` is below {STRIDE}"));
        }
        let heads = [
            ("vision_config.heads", vision.heads, vision.channels()[3]),
            (
                "text_config.num_attention_heads",
                text.num_attention_heads,
                text.hidden_size,
            ),
            ("decoder_heads", self.decoder_heads, self.width()),
        ];
        for (field, heads, width) in heads {
            if width % heads != 0 {
                return Err(format!(
                    "`{field}` is {heads}, which does not divide the width {width}"
                ));
            }
        }
        if !self.width().is_multiple_of(4) {
            return Err(format!(
                "`fpn_out` has {} in the middle; positions of a map need a multiple of 4",
                self.width()
            ));
        }
        if text.hidden_size != self.width() {
            return Err(format!(
                "`fpn_out` has {} in the middle, but words, which the decoder attends to, have the \
                 text tower's width {}",
                self.width(),
                text.hidden_size
            ));
        }
        if self.context_length < 2 || self.context_length > text.max_position_embeddings {
            return Err(format!(
                "`context_length` is {}; the text tower takes 2 to {}",
                self.context_length, text.max_position_embeddings
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("`dropout` is {}; it must be in 0..1", self.dropout));
        }
        check_image_size(self.image_size).map_err(|message| format!("`image_size`: {message}"))
    }

    /// Channels of the maps C3, C4 and C5.
    pub(super) fn taps(&self) -> [usize; 3] {
        let [_, c3, c4, _] = self.vision_config.channels();
        [c3, c4, self.projection_dim]
    }

    /// For inputs of a side, the shapes `[channels, pixels]` of the maps C3, C4 and C5.
    pub(super) fn state_shapes(&self, image_size: usize) -> [[usize; 2]; 3] {
        let [c3, c4, c5] = self.taps();
        let place = |stride: usize| (image_size / stride).pow(2);
        [
            [c3, place(STRIDE / 4)],
            [c4, place(STRIDE / 2)],
            [c5, place(STRIDE)],
        ]
    }

    /// Width of the decoder.
    pub(super) fn width(&self) -> usize {
        self.fpn_out[1]
    }

    /// The configuration of weights under published names (see [`names`](super::names)), of a CRIS or of a CLIP;
    /// what shapes cannot say, or a CLIP has not, is as in the VLSM papers. As in CLIP, a head is 64 wide and the last
    /// token of the vocabulary ends a prompt.
    ///
    /// # Errors
    /// Names a tensor that is missing or whose shape cannot be.
    pub fn of_weights(tensors: &BTreeMap<String, HostTensor>) -> std::result::Result<Self, String> {
        let extent = |name: &str, axis: usize| -> std::result::Result<usize, String> {
            let name = format!("backbone.{name}");
            let tensor = tensors
                .get(&name)
                .ok_or_else(|| format!("missing `{name}`"))?;
            let extent = tensor.shape.get(axis).copied();
            extent.ok_or_else(|| format!("`{name}` has the shape {:?}", tensor.shape))
        };
        // Blocks are numbered from 0 after a common beginning.
        let blocks = |start: &str| {
            let numbers = tensors.keys().filter_map(|name| {
                let (number, _) = name.strip_prefix(start)?.split_once('.')?;
                number.parse::<usize>().ok()?.checked_add(1)
            });
            numbers.max().unwrap_or(0)
        };
        let published = Self::default();
        let width = extent("visual.layer1.0.conv1.weight", 0)?;
        let positions = extent("visual.attnpool.positional_embedding", 0)?;
        let text_width = extent("token_embedding.weight", 1)?;
        let vocabulary = extent("token_embedding.weight", 0)?;
        let end = vocabulary.saturating_sub(1) as u32;
        let channels = |name: &str| {
            let tensor = tensors.get(&format!("neck.{name}_v_proj.0.weight"));
            tensor.and_then(|tensor| tensor.shape.first().copied())
        };
        let [low, _, high] = published.fpn_out;
        let config = Self {
            vision_config: ResNetConfig {
                layers: [1, 2, 3, 4].map(|stage| blocks(&format!("backbone.visual.layer{stage}."))),
                width,
                image_size: positions.saturating_sub(1).isqrt() * STRIDE,
                heads: (width.saturating_mul(EXPANSION * 8) / 64).max(1),
            },
            text_config: TextConfig {
                vocab_size: vocabulary,
                hidden_size: text_width,
                intermediate_size: text_width.saturating_mul(4),
                num_hidden_layers: blocks("backbone.transformer.resblocks."),
                num_attention_heads: (text_width / 64).max(1),
                max_position_embeddings: extent("positional_embedding", 0)?,
                bos_token_id: end.saturating_sub(1),
                eos_token_id: end,
                pad_token_id: end,
                ..published.text_config
            },
            projection_dim: extent("text_projection", 1)?,
            fpn_out: [
                channels("f3").unwrap_or(low),
                channels("f2").unwrap_or(text_width),
                channels("f1").unwrap_or(high),
            ],
            decoder_layers: match blocks("decoder.layers.") {
                0 => published.decoder_layers,
                layers => layers,
            },
            decoder_hidden: tensors
                .get("decoder.layers.0.ffn.0.weight")
                .and_then(|tensor| tensor.shape.first().copied())
                .unwrap_or(published.decoder_hidden),
            context_length: extent("positional_embedding", 0)?,
            ..published
        };
        config.validate()?;
        Ok(config)
    }
}

/// Says why a side of the input cannot be taken.
pub(super) fn check_image_size(size: usize) -> std::result::Result<(), String> {
    if size == 0 || !size.is_multiple_of(STRIDE) {
        let nearest = ((size + STRIDE / 2) / STRIDE).max(1) * STRIDE;
        return Err(format!(
            "{size} is not a multiple of {STRIDE}, by which the vision tower divides; try {nearest}"
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
