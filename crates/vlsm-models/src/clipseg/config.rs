//! Configuration of a CLIPSeg, as in Hugging Face's `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clip::config::{TextConfig, VisionConfig, check_sizes, merge_older_towers};
use crate::error::{ModelError, Result};
use crate::files::read_config;
use crate::preprocess::Preprocessing;

/// A CLIPSeg: two towers, the layers of the vision tower that are tapped, and the decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipSegConfig {
    /// The text tower.
    pub text_config: TextConfig,
    /// The vision tower.
    pub vision_config: VisionConfig,
    /// Width of the shared embedding, which conditions the decoder.
    pub projection_dim: usize,
    /// The tapped layers, counted from 0, shallowest first.
    pub extract_layers: Vec<usize>,
    /// Width of the decoder.
    pub reduce_dim: usize,
    /// Attention heads of a decoder layer.
    pub decoder_num_attention_heads: usize,
    /// MLP width of a decoder layer.
    pub decoder_intermediate_size: usize,
    /// The decoder layer before which the text conditions the tokens.
    pub conditional_layer: usize,
    /// Whether tokens become pixels by three convolutions (the "refined" models) or one.
    pub use_complex_transposed_convolution: bool,
    /// The logarithm of CLIP's temperature at initialisation.
    pub logit_scale_init_value: f64,
    /// Scales every initial weight.
    pub initializer_factor: f64,
    /// Epsilon of the decoder's layer norms, if it is not the vision tower's.
    #[serde(skip)]
    pub decoder_layer_norm_eps: Option<f64>,
    /// The taps under profile `paper`, if they differ.
    #[serde(skip)]
    pub published_taps: Option<Vec<usize>>,
    /// Whether the base has no decoder of its own. Training then initialises the decoder from the run's seed.
    #[serde(skip)]
    pub fresh_decoder: bool,
}

impl Default for ClipSegConfig {
    /// The defaults of Transformers' `CLIPSegConfig`.
    fn default() -> Self {
        Self {
            text_config: TextConfig::default(),
            vision_config: VisionConfig::default(),
            projection_dim: 512,
            extract_layers: vec![3, 6, 9],
            reduce_dim: 64,
            decoder_num_attention_heads: 4,
            decoder_intermediate_size: 2048,
            conditional_layer: 0,
            use_complex_transposed_convolution: false,
            logit_scale_init_value: 2.6592,
            initializer_factor: 1.0,
            decoder_layer_norm_eps: None,
            published_taps: None,
            fresh_decoder: false,
        }
    }
}

impl ClipSegConfig {
    /// The configuration of `CIDAS/clipseg-rd64-refined`.
    pub fn rd64_refined() -> Self {
        Self {
            vision_config: VisionConfig {
                patch_size: 16,
                ..VisionConfig::default()
            },
            text_config: TextConfig {
                pad_token_id: 49407,
                ..TextConfig::default()
            },
            use_complex_transposed_convolution: true,
            ..Self::default()
        }
    }

    /// A small CLIPSeg with CLIP's vocabulary: 168 pixels in patches of 12, 1.6 million parameters
    /// in addition to the token table of 3.2 million.
    pub fn tiny() -> Self {
        Self {
            vision_config: VisionConfig {
                hidden_size: 128,
                intermediate_size: 512,
                num_hidden_layers: 5,
                num_attention_heads: 4,
                image_size: 168,
                patch_size: 12,
                ..VisionConfig::default()
            },
            text_config: TextConfig {
                hidden_size: 64,
                intermediate_size: 256,
                num_hidden_layers: 5,
                num_attention_heads: 2,
                pad_token_id: 49407,
                ..TextConfig::default()
            },
            projection_dim: 64,
            extract_layers: vec![2, 4],
            reduce_dim: 96,
            decoder_num_attention_heads: 3,
            decoder_intermediate_size: 256,
            ..Self::default()
        }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, is not a CLIPSeg's, or describes a model that
    /// cannot be built; the field is named.
    pub fn read(path: &Path) -> Result<Self> {
        read_config(path, Self::parse)
    }

    /// Parses a `config.json`, as [`read`](Self::read) does.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
        let Some(object) = value.as_object_mut() else {
            return Err("not a JSON object".into());
        };
        if let Some(kind) = object.get("model_type").and_then(|kind| kind.as_str())
            && kind != "clipseg"
        {
            return Err(format!(
                "`model_type` is \"{kind}\"; use \"clipseg\", \"san\", \"clip\" (for a SAN) and \"cris\""
            ));
        }
        merge_older_towers(object);
        let config: Self =
            serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
        config.validate()?;
        Ok(config)
    }

    /// Returns the reason why no model can be built from this configuration.
    pub(crate) fn validate(&self) -> std::result::Result<(), String> {
        check_sizes(self)?;
        let positive = [
            ("vision_config.hidden_size", self.vision_config.hidden_size),
            (
                "vision_config.intermediate_size",
                self.vision_config.intermediate_size,
            ),
            ("vision_config.patch_size", self.vision_config.patch_size),
            ("vision_config.image_size", self.vision_config.image_size),
            ("text_config.hidden_size", self.text_config.hidden_size),
            (
                "text_config.intermediate_size",
                self.text_config.intermediate_size,
            ),
            ("text_config.vocab_size", self.text_config.vocab_size),
            ("projection_dim", self.projection_dim),
            ("reduce_dim", self.reduce_dim),
            ("decoder_intermediate_size", self.decoder_intermediate_size),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(format!("`{field}` is 0"));
            }
        }
        let heads = [
            (
                "vision_config.num_attention_heads",
                self.vision_config.num_attention_heads,
                self.vision_config.hidden_size,
            ),
            (
                "text_config.num_attention_heads",
                self.text_config.num_attention_heads,
                self.text_config.hidden_size,
            ),
            (
                "decoder_num_attention_heads",
                self.decoder_num_attention_heads,
                self.reduce_dim,
            ),
        ];
        for (field, heads, width) in heads {
            if heads == 0 || width % heads != 0 {
                return Err(format!(
                    "`{field}` is {heads}, which does not divide the width {width}"
                ));
            }
        }
        if self.vision_config.num_channels != 3 {
            return Err(format!(
                "`vision_config.num_channels` is {}; images are fed as RGB",
                self.vision_config.num_channels
            ));
        }
        if self.text_config.max_position_embeddings < 2 {
            return Err("`text_config.max_position_embeddings` is below 2".into());
        }
        if self.vision_config.image_size < self.vision_config.patch_size {
            return Err("`vision_config.image_size` is below `patch_size`".into());
        }
        if self.use_complex_transposed_convolution
            && (self.vision_config.patch_size < 4 || self.reduce_dim < 2)
        {
            return Err(
                "`use_complex_transposed_convolution` needs `patch_size` of 4 or more and \
                 `reduce_dim` of 2 or more"
                    .into(),
            );
        }
        let layers = self.vision_config.num_hidden_layers;
        if self.extract_layers.is_empty() {
            return Err("`extract_layers` is empty".into());
        }
        if let Some(tap) = self.extract_layers.iter().find(|tap| **tap >= layers) {
            return Err(format!(
                "`extract_layers` taps layer {tap}, but the vision tower has layers 0..{layers}"
            ));
        }
        if self.conditional_layer >= self.extract_layers.len() {
            return Err(format!(
                "`conditional_layer` is {}, but the decoder has {} layers",
                self.conditional_layer,
                self.extract_layers.len()
            ));
        }
        Ok(())
    }

    /// The deepest tapped layer; no later layer needs to run.
    pub fn last_tap(&self) -> usize {
        self.extract_layers.iter().copied().max().unwrap_or(0)
    }

    /// Side of the logits, in pixels, for an input side.
    pub fn output_size(&self, image_size: usize) -> usize {
        let patch = self.vision_config.patch_size;
        let grid = image_size / patch;
        if self.use_complex_transposed_convolution {
            grid * (patch / 4) * (patch / 4)
        } else {
            grid * patch
        }
    }

    /// The preprocessing of a CLIPSeg without a `preprocessor_config.json`: images of its own size, normalised with
    /// ImageNet's mean and standard deviation (a BiomedCLIP: with CLIP's).
    pub fn preprocessing(&self) -> Preprocessing {
        let size = self.vision_config.image_size;
        if self.vision_config.timm {
            Preprocessing::clip(size)
        } else {
            Preprocessing::imagenet(size)
        }
    }

    /// The `config.json` as Transformers reads it.
    ///
    /// # Errors
    /// If the configuration cannot be serialised.
    pub fn to_json(&self) -> Result<serde_json::Value> {
        let value = serde_json::to_value(self);
        let mut value = value.map_err(ModelError::serialise("the configuration"))?;
        if let Some(object) = value.as_object_mut() {
            object.insert(
                "architectures".into(),
                serde_json::json!(["CLIPSegForImageSegmentation"]),
            );
            object.insert("model_type".into(), "clipseg".into());
            object.insert("torch_dtype".into(), "float32".into());
            for tower in ["text", "vision"] {
                if let Some(config) = object
                    .get_mut(&format!("{tower}_config"))
                    .and_then(|config| config.as_object_mut())
                {
                    config.insert("model_type".into(), format!("clipseg_{tower}_model").into());
                }
            }
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_missing_fields() {
        let config = ClipSegConfig::parse(r#"{"model_type":"clipseg","reduce_dim":16}"#).unwrap();
        assert_eq!(config.reduce_dim, 16);
        assert_eq!(config.vision_config.patch_size, 32);
        assert_eq!(config.extract_layers, [3, 6, 9]);
    }

    #[test]
    fn older_files_repeat_the_towers() {
        let config = ClipSegConfig::parse(
            r#"{"vision_config":{"patch_size":32},"vision_config_dict":{"patch_size":16},"text_config_dict":null}"#,
        )
        .unwrap();
        assert_eq!(config.vision_config.patch_size, 16);
    }

    #[test]
    fn impossible_models_name_the_field() {
        for (text, field) in [
            (r#"{"model_type":"bert"}"#, "model_type"),
            (r#"{"extract_layers":[12]}"#, "extract_layers"),
            (
                r#"{"vision_config":{"num_attention_heads":7}}"#,
                "vision_config.num_attention_heads",
            ),
            (r#"{"conditional_layer":3}"#, "conditional_layer"),
            (
                r#"{"text_config":{"hidden_size":"x"}}"#,
                "text_config.hidden_size",
            ),
            (
                r#"{"vision_config":{"hidden_act":"swish"}}"#,
                "vision_config.hidden_act",
            ),
        ] {
            let error = ClipSegConfig::parse(text).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn written_configuration_reads_back() {
        for config in [ClipSegConfig::rd64_refined(), ClipSegConfig::tiny()] {
            let text = config.to_json().unwrap().to_string();
            assert_eq!(ClipSegConfig::parse(&text).unwrap(), config);
        }
    }
}
