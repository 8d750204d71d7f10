//! Configuration of a CLIP.

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::clip::config::{
    TextConfig, VisionConfig, check_sizes, check_towers, merge_older_towers,
};
use crate::methods::{BaseShape, Tensors};

/// A CLIP: two towers and the width of the embedding that they share. The defaults are those of Transformers' `CLIPConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// The text tower.
    pub text_config: TextConfig,
    /// The vision tower.
    pub vision_config: VisionConfig,
    /// Width of the shared embedding.
    pub projection_dim: usize,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            text_config: TextConfig::default(),
            vision_config: VisionConfig::default(),
            projection_dim: 512,
        }
    }
}

/// Model types of Transformers whose weights hold a whole CLIP.
const KINDS: [&str; 2] = ["clip", "clipseg"];

/// Width of an attention head in all of OpenAI's CLIPs, whose files do not say it.
const HEAD: usize = 64;

impl ClipConfig {
    /// Parses the `config.json` of a CLIP, or of a CLIPSeg, whose CLIP is then meant.
    ///
    /// # Errors
    /// Says why no CLIP can be built; names the field.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
        let Some(object) = value.as_object_mut() else {
            return Err("not a JSON object".into());
        };
        let kind = object.get("model_type").and_then(|kind| kind.as_str());
        if !kind.is_some_and(|kind| KINDS.contains(&kind)) {
            return Err(format!(
                "`model_type` is \"{}\"; segments are named by a model of type \"clip\" or by the CLIP of a \"clipseg\"",
                kind.unwrap_or("not there")
            ));
        }
        merge_older_towers(object);
        let config: Self =
            serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
        config.validate()?;
        Ok(config)
    }

    /// Returns the reason why no model can be built from this configuration.
    pub(super) fn validate(&self) -> Result<(), String> {
        check_sizes(self)?;
        check_towers(&self.text_config, &self.vision_config, self.projection_dim)
    }

    /// The configuration of weights alone, in Transformers' names, read off their shapes as OpenAI's code does: heads of 64
    /// channels, and quick-GELU.
    ///
    /// # Errors
    /// Names the tensor that is missing or has another number of dimensions.
    pub(super) fn of_tensors(tensors: &Tensors) -> Result<Self, String> {
        let shape = |name: &str| -> Result<&[usize], String> {
            let tensor = tensors.get(name);
            tensor
                .map(|tensor| tensor.shape.as_slice())
                .ok_or_else(|| format!("there is no `{name}`"))
        };
        let matrix = |name: &str| match shape(name)? {
            [rows, columns] => Ok([*rows, *columns]),
            other => Err(format!("`{name}` is {other:?}, no matrix")),
        };
        let patches = "vision_model.embeddings.patch_embedding.weight";
        let patch_size = match shape(patches)? {
            [_, _, _, patch] => *patch,
            other => return Err(format!("`{patches}` is {other:?}, no convolution")),
        };
        let layers = |tower: &str| {
            let start = format!("{tower}.encoder.layers.");
            let indices = tensors.keys().filter_map(|name| {
                let (index, _) = name.strip_prefix(&start)?.split_once('.')?;
                index.parse::<usize>().ok()
            });
            indices.max().map_or(0, |last| last + 1)
        };
        let [positions, width] = matrix("vision_model.embeddings.position_embedding.weight")?;
        let [hidden, _] = matrix("vision_model.encoder.layers.0.mlp.fc1.weight")?;
        let vision_config = VisionConfig {
            hidden_size: width,
            intermediate_size: hidden,
            num_hidden_layers: layers("vision_model"),
            num_attention_heads: width / HEAD,
            image_size: positions.saturating_sub(1).isqrt() * patch_size,
            patch_size,
            hidden_act: Activation::QuickGelu,
            ..VisionConfig::default()
        };
        let [vocabulary, width] = matrix("text_model.embeddings.token_embedding.weight")?;
        let [context, _] = matrix("text_model.embeddings.position_embedding.weight")?;
        let [hidden, _] = matrix("text_model.encoder.layers.0.mlp.fc1.weight")?;
        let [projection_dim, _] = matrix("text_projection.weight")?;
        let config = Self {
            text_config: text_of(vocabulary, context, width, width / HEAD, hidden)
                .with_layers(layers("text_model")),
            vision_config,
            projection_dim,
        };
        config.validate()?;
        Ok(config)
    }

    /// What methods need to know: the taps that adapters next to a decoder need are missing.
    pub(super) fn shape(&self) -> BaseShape {
        let vision = &self.vision_config;
        BaseShape {
            name: "CLIP",
            vision: Ok(vision.shape("clip.vision_model.", vision.num_hidden_layers)),
            text: self.text_config.shape("clip.text_model."),
            context: self.text_config.max_position_embeddings,
            projection: self.projection_dim,
            taps: Vec::new(),
            batch_norm: false,
            pairs: false,
        }
    }
}

/// The text tower of a CLIP whose files do not name the special tokens: the last two of the vocabulary, as in all of them.
pub(super) fn text_of(
    vocabulary: usize,
    context: usize,
    width: usize,
    heads: usize,
    hidden: usize,
) -> TextConfig {
    let last = u32::try_from(vocabulary.saturating_sub(1)).unwrap_or(u32::MAX);
    TextConfig {
        vocab_size: vocabulary,
        hidden_size: width,
        intermediate_size: hidden,
        num_attention_heads: heads,
        max_position_embeddings: context,
        bos_token_id: last.saturating_sub(1),
        eos_token_id: last,
        pad_token_id: 0,
        ..TextConfig::default()
    }
}

impl TextConfig {
    /// The same tower with that many layers.
    pub(super) fn with_layers(self, layers: usize) -> Self {
        Self {
            num_hidden_layers: layers,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor_file::HostTensor;

    /// Shapes of OpenAI's files of ViT-B/16 and ViT-L/14.
    #[test]
    fn the_towers_are_read_off_the_shapes_of_weights() {
        let cases = [
            (768, 12, 16, 197, 512, 12, 512),
            (1024, 24, 14, 257, 768, 12, 768),
        ];
        for (width, depth, patch, positions, text, text_depth, projection) in cases {
            let mut tensors = Tensors::new();
            let mut add = |name: String, shape: &[usize]| {
                let (shape, data) = (shape.to_vec(), Vec::new());
                tensors.insert(name, HostTensor { shape, data });
            };
            let towers = [
                ("vision_model", width, depth, positions),
                ("text_model", text, text_depth, 77),
            ];
            for (tower, width, depth, positions) in towers {
                let table = format!("{tower}.embeddings.position_embedding.weight");
                add(table, &[positions, width]);
                for layer in 0..depth {
                    let fc1 = format!("{tower}.encoder.layers.{layer}.mlp.fc1.weight");
                    add(fc1, &[4 * width, width]);
                }
            }
            add(
                "vision_model.embeddings.patch_embedding.weight".into(),
                &[width, 3, patch, patch],
            );
            add(
                "text_model.embeddings.token_embedding.weight".into(),
                &[49408, text],
            );
            add("text_projection.weight".into(), &[projection, text]);
            let config = ClipConfig::of_tensors(&tensors).unwrap();
            let vision = &config.vision_config;
            assert_eq!(vision.image_size, 224);
            assert_eq!(vision.num_attention_heads, width / 64);
            assert_eq!(
                (vision.num_hidden_layers, vision.patch_size),
                (depth, patch)
            );
            assert_eq!(config.text_config.num_attention_heads, text / 64);
            assert_eq!(config.text_config.num_hidden_layers, 12);
            assert_eq!(config.text_config.eos_token_id, 49407);
            assert_eq!(config.projection_dim, projection);
            tensors.remove("text_projection.weight");
            let error = ClipConfig::of_tensors(&tensors).unwrap_err();
            assert!(error.contains("text_projection.weight"), "{error}");
        }
    }

    #[test]
    fn another_kind_of_model_is_refused() {
        for (text, field) in [
            (r#"{"model_type":"siglip"}"#, "siglip"),
            (
                r#"{"model_type":"clip","projection_dim":0}"#,
                "projection_dim",
            ),
            (
                r#"{"model_type":"clip","vision_config":{"num_attention_heads":7}}"#,
                "vision_config.num_attention_heads",
            ),
            ("[]", "JSON"),
        ] {
            let error = ClipConfig::parse(text).unwrap_err();
            assert!(error.contains(field), "{text}: {error}");
        }
    }
}
