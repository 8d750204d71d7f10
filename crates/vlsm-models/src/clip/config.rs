//! Configuration of CLIP's towers, with the field names of Transformers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::activation::Activation;
use crate::methods::TowerShape;
use crate::preprocess::MAX_IMAGE_SIZE;

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
    /// Whether it is a ViT as in timm: with a bias in the patch embedding, and no layer norm before the first layer.
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

/// Settings of a [BERT](super::BertTower) in addition to those of all text towers.
#[derive(Debug, Clone, PartialEq)]
pub struct BertConfig {
    /// Number of position embeddings; more than the context length.
    pub positions: usize,
    /// Number of token types.
    pub token_types: usize,
    /// Hidden units of the projection to the shared embedding.
    pub projection_hidden: usize,
}

/// The text tower: a causal transformer, or a BERT.
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
    /// The context length: the maximum number of tokens of a prompt.
    pub max_position_embeddings: usize,
    /// Activation of the MLP.
    pub hidden_act: Activation,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Id that starts a prompt.
    pub bos_token_id: u32,
    /// Id that ends a prompt. Files with the value 2 are older and have a wrong id here: the prompt then ends at the
    /// largest id, as in Transformers.
    pub eos_token_id: u32,
    /// Id of padding after the end.
    pub pad_token_id: u32,
    /// Settings of a BERT; `None` for CLIP's text tower.
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

impl VisionConfig {
    /// The tower's shape for methods. Only the first `layers` layers are run; parameter names start with `prefix`.
    pub(crate) fn shape(&self, prefix: &'static str, layers: usize) -> TowerShape {
        TowerShape {
            prefix,
            width: self.hidden_size,
            hidden: self.intermediate_size,
            layers,
            heads: self.num_attention_heads,
        }
    }
}

impl TextConfig {
    /// The tower's shape for methods; parameter names start with `prefix`.
    pub(crate) fn shape(&self, prefix: &'static str) -> TowerShape {
        TowerShape {
            prefix,
            width: self.hidden_size,
            hidden: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
        }
    }
}

/// Files of older Transformers versions repeat the towers in `*_config_dict`, which takes precedence there.
pub(crate) fn merge_older_towers(object: &mut serde_json::Map<String, Value>) {
    for tower in ["text_config", "vision_config"] {
        if let Some(Value::Object(old)) = object.remove(&format!("{tower}_dict")) {
            let new = object
                .entry(tower)
                .or_insert_with(|| Value::Object(Default::default()));
            if let Some(new) = new.as_object_mut() {
                new.extend(old);
            }
        }
        if object.get(tower).is_some_and(Value::is_null) {
            object.remove(tower);
        }
    }
}

/// Returns which number of a configuration is too large for any model: a few more digits ask for more memory than any machine
/// has. The limits are about ten times what the largest known models have.
pub(crate) fn check_sizes(config: &impl Serialize) -> std::result::Result<(), String> {
    let value = serde_json::to_value(config).map_err(|error| error.to_string())?;
    check_numbers("", &value)
}

fn check_numbers(path: &str, value: &Value) -> std::result::Result<(), String> {
    let number = match value {
        Value::Object(fields) => {
            return fields.iter().try_for_each(|(field, value)| {
                let dot = if path.is_empty() { "" } else { "." };
                check_numbers(&format!("{path}{dot}{field}"), value)
            });
        }
        Value::Array(values) => {
            return values
                .iter()
                .try_for_each(|value| check_numbers(path, value));
        }
        other => other.as_u64().unwrap_or(0),
    };
    let most = match path {
        _ if path.ends_with("layers") => 1024,
        _ if path.ends_with("image_size") => MAX_IMAGE_SIZE as u64,
        _ if path.ends_with("vocab_size") || path.ends_with("token_id") => 1 << 22,
        _ => 65_536,
    };
    if number > most {
        return Err(format!("`{path}` is {number}; it can be at most {most}"));
    }
    Ok(())
}

/// Returns the reason why no CLIP can be built from two towers and the width of their projections.
pub(crate) fn check_towers(
    text: &TextConfig,
    vision: &VisionConfig,
    projection: usize,
) -> std::result::Result<(), String> {
    let positive = [
        ("vision_config.hidden_size", vision.hidden_size),
        ("vision_config.intermediate_size", vision.intermediate_size),
        ("vision_config.patch_size", vision.patch_size),
        ("text_config.hidden_size", text.hidden_size),
        ("text_config.intermediate_size", text.intermediate_size),
        ("text_config.vocab_size", text.vocab_size),
        ("projection_dim", projection),
    ];
    if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(format!("`{field}` is 0"));
    }
    check_heads("vision", vision.num_attention_heads, vision.hidden_size)?;
    check_heads("text", text.num_attention_heads, text.hidden_size)?;
    if vision.num_channels != 3 {
        return Err(format!(
            "`vision_config.num_channels` is {}; images are fed as RGB",
            vision.num_channels
        ));
    }
    if text.max_position_embeddings < 2 {
        return Err("`text_config.max_position_embeddings` is below 2".into());
    }
    if vision.image_size < vision.patch_size {
        return Err("`vision_config.image_size` is below `patch_size`".into());
    }
    Ok(())
}

/// Returns the reason why attention of that many heads cannot be built.
pub(crate) fn check_heads(
    part: &str,
    heads: usize,
    width: usize,
) -> std::result::Result<(), String> {
    match heads == 0 || !width.is_multiple_of(heads) {
        true => Err(format!(
            "`{part}_config.num_attention_heads` is {heads}, which does not divide the width {width}"
        )),
        false => Ok(()),
    }
}
