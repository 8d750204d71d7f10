//! Model configuration, as in Hugging Face's `config.json` of a CLIPSeg.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::biomedclip;
use crate::error::{ModelError, Result};
use crate::hub::OPEN_CLIP_CONFIG;
use crate::preprocess::Preprocessing;
use crate::tensor_file::HostTensor;

/// The activation between the two layers of a transformer's MLP or of an adapter block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`, as in OpenAI's CLIP.
    QuickGelu,
    /// The exact Gaussian error linear unit.
    Gelu,
    /// GELU by its tanh approximation.
    #[serde(alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// `max(x, 0)`.
    Relu,
}

impl From<Activation> for vlsm_kernels::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::QuickGelu => Self::QuickGelu,
            Activation::Gelu => Self::Gelu,
            Activation::GeluNew => Self::GeluTanh,
            Activation::Relu => Self::Relu,
        }
    }
}

/// The vision tower: a vision transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of transformer layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads.
    pub num_attention_heads: usize,
    /// Input side, in pixels, that the position embeddings are for.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Number of input channels; this library feeds RGB.
    pub num_channels: usize,
    /// Activation of the MLP.
    pub hidden_act: Activation,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Whether it is a ViT as timm builds it: with a bias of patches, and no layer norm before the first layer.
    #[serde(skip)]
    pub timm: bool,
}

impl Default for VisionConfig {
    /// The defaults of Transformers' `CLIPSegVisionConfig`.
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            num_channels: 3,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            timm: false,
        }
    }
}

/// What a [BERT](crate::clip::BertTower) has besides what all text towers have.
#[derive(Debug, Clone, PartialEq)]
pub struct BertConfig {
    /// Number of position embeddings; more than the context length.
    pub positions: usize,
    /// Number of token types.
    pub token_types: usize,
    /// Hidden units of the projection to the shared embedding.
    pub projection_hidden: usize,
}

/// The text tower: a causal transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of transformer layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads.
    pub num_attention_heads: usize,
    /// The context length: the most tokens a prompt can have.
    pub max_position_embeddings: usize,
    /// Activation of the MLP.
    pub hidden_act: Activation,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Id that starts a prompt.
    pub bos_token_id: u32,
    /// Id that ends a prompt. The value 2 stands, as in Transformers, for files written before
    /// the field was right: the prompt then ends at the largest id.
    pub eos_token_id: u32,
    /// Id behind the end.
    pub pad_token_id: u32,
    /// What makes it a BERT; `None` for CLIP's.
    #[serde(skip)]
    pub bert: Option<BertConfig>,
}

impl Default for TextConfig {
    /// The defaults of Transformers' `CLIPSegTextConfig`.
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            bos_token_id: 49406,
            eos_token_id: 49407,
            pad_token_id: 1,
            bert: None,
        }
    }
}

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
    /// Epsilon of the decoder's layer norms, where it is not the vision tower's.
    #[serde(skip)]
    pub decoder_layer_norm_eps: Option<f64>,
    /// The taps under profile `paper`, where they are others.
    #[serde(skip)]
    pub published_taps: Option<Vec<usize>>,
    /// Whether the base has no decoder of its own: one that is trained starts anew with each run's seed.
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

/// What `parse` makes of the text of a configuration's file; its message names what is wrong.
pub(crate) fn read_file<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> std::result::Result<T, String>,
) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::Read {
        path: path.into(),
        source,
    })?;
    parse(&text).map_err(|message| ModelError::Config {
        path: path.into(),
        message,
    })
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

    /// BiomedCLIP's towers with the decoder of `CIDAS/clipseg-rd64-refined`.
    pub fn biomedclipseg() -> Self {
        biomedclip::whole()
    }

    /// A small CLIPSeg with CLIP's vocabulary: 168 pixels in patches of 12, 1.6 million parameters
    /// beside the token table of 3.2 million.
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

    /// Reads a `config.json`, or a BiomedCLIP's `open_clip_config.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, is not a CLIPSeg's, or describes a model that
    /// cannot be built; the field is named.
    pub fn read(path: &Path) -> Result<Self> {
        read_file(path, Self::parse)
    }

    /// Parses a `config.json`, as [`read`](Self::read) does.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
        let Some(object) = value.as_object_mut() else {
            return Err("not a JSON object".into());
        };
        if object.contains_key("model_cfg") {
            return biomedclip::parse(text, None);
        }
        if let Some(kind) = object.get("model_type").and_then(|kind| kind.as_str())
            && kind != "clipseg"
        {
            return Err(format!(
                "`model_type` is \"{kind}\"; what can be read is \"clipseg\", \"san\", \"clip\" (for a SAN) and \"cris\""
            ));
        }
        merge_older_towers(object);
        let config: Self =
            serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
        config.validate()?;
        Ok(config)
    }

    /// Says what keeps a model from being built from this configuration.
    pub(crate) fn validate(&self) -> std::result::Result<(), String> {
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

    /// The deepest tapped layer; nothing behind it needs to run.
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

    /// The files that a base is laid down in: the name of its weights, and those of the others with what stands in them.
    /// A vocabulary, if it has one of its own, comes besides.
    pub fn files(
        &self,
        preprocessing: &Preprocessing,
    ) -> (&'static str, Vec<(&'static str, serde_json::Value)>) {
        if self.text_config.bert.is_some() {
            let config = biomedclip::to_json(self, preprocessing);
            return (
                "open_clip_model.safetensors",
                vec![(OPEN_CLIP_CONFIG, config)],
            );
        }
        let files = vec![
            ("config.json", self.to_json()),
            ("preprocessor_config.json", preprocessing.to_json()),
        ];
        ("model.safetensors", files)
    }

    /// All parameters of a base under the names that they have in its files.
    pub fn in_files(&self, tensors: BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
        if self.text_config.bert.is_some() {
            biomedclip::to_open_clip(tensors)
        } else {
            tensors
        }
    }

    /// The `config.json` that Transformers reads back.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
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
        value
    }
}

/// Files of older Transformers repeat the towers in `*_config_dict`, which wins there.
pub(crate) fn merge_older_towers(object: &mut serde_json::Map<String, serde_json::Value>) {
    for tower in ["text_config", "vision_config"] {
        if let Some(serde_json::Value::Object(old)) = object.remove(&format!("{tower}_dict")) {
            let new = object
                .entry(tower)
                .or_insert_with(|| serde_json::Value::Object(Default::default()));
            if let Some(new) = new.as_object_mut() {
                new.extend(old);
            }
        }
        if object.get(tower).is_some_and(serde_json::Value::is_null) {
            object.remove(tower);
        }
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
            let text = config.to_json().to_string();
            assert_eq!(ClipSegConfig::parse(&text).unwrap(), config);
        }
    }
}
