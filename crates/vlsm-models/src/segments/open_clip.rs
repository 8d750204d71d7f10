//! `open_clip_config.json` of a CLIP with a vision transformer and CLIP's text transformer.

use serde::Deserialize;

use super::config::{ClipConfig, text_of};
use crate::activation::Activation;
use crate::clip::config::VisionConfig;
use crate::preprocess::Preprocessing;

#[derive(Deserialize)]
struct File {
    model_cfg: Model,
    #[serde(default)]
    preprocess_cfg: Preprocess,
}

#[derive(Deserialize)]
struct Model {
    embed_dim: usize,
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: Vision,
    text_cfg: Text,
}

#[derive(Deserialize)]
struct Vision {
    timm_model_name: Option<String>,
    #[serde(default = "image_size")]
    image_size: usize,
    #[serde(default = "patch_size")]
    patch_size: usize,
    // A number; of a ResNet a list.
    #[serde(default)]
    layers: serde_json::Value,
    #[serde(default = "vision_width")]
    width: usize,
    #[serde(default = "head_width")]
    head_width: usize,
    #[serde(default = "mlp_ratio")]
    mlp_ratio: f64,
}

#[derive(Deserialize)]
struct Text {
    hf_model_name: Option<String>,
    #[serde(default = "context_length")]
    context_length: usize,
    #[serde(default = "vocabulary_size")]
    vocab_size: usize,
    #[serde(default = "text_width")]
    width: usize,
    #[serde(default = "text_heads")]
    heads: usize,
    #[serde(default = "depth")]
    layers: usize,
    #[serde(default = "mlp_ratio")]
    mlp_ratio: f64,
}

#[derive(Default, Deserialize)]
struct Preprocess {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

// The defaults of open_clip's `CLIPVisionCfg` and `CLIPTextCfg`.
fn image_size() -> usize {
    224
}
fn patch_size() -> usize {
    16
}
fn vision_width() -> usize {
    768
}
fn head_width() -> usize {
    64
}
fn mlp_ratio() -> f64 {
    4.0
}
fn context_length() -> usize {
    77
}
fn vocabulary_size() -> usize {
    49408
}
fn text_width() -> usize {
    512
}
fn text_heads() -> usize {
    8
}
fn depth() -> usize {
    12
}

/// The configuration and the normalisation of the input.
///
/// # Errors
/// Says why no CLIP can be built; names the field.
pub(super) fn parse(text: &str) -> Result<(ClipConfig, Preprocessing), String> {
    let File {
        model_cfg,
        preprocess_cfg,
    } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (vision, text) = (model_cfg.vision_cfg, model_cfg.text_cfg);
    let other = |field: &str, name: &str| {
        Err(format!(
            "`model_cfg.{field}` is \"{name}\"; segments are named by CLIPs whose towers are CLIP's own transformers"
        ))
    };
    if let Some(name) = &vision.timm_model_name {
        return other("vision_cfg.timm_model_name", name);
    }
    if let Some(name) = &text.hf_model_name {
        return other("text_cfg.hf_model_name", name);
    }
    let layers = match &vision.layers {
        serde_json::Value::Null => depth(),
        layers => match layers.as_u64() {
            Some(layers) => usize::try_from(layers).unwrap_or(usize::MAX),
            None => return other("vision_cfg.layers", &layers.to_string()),
        },
    };
    let activation = match model_cfg.quick_gelu {
        true => Activation::QuickGelu,
        false => Activation::Gelu,
    };
    let hidden = |width: usize, ratio: f64| (width as f64 * ratio).round() as usize;
    let mut text_config = text_of(
        text.vocab_size,
        text.context_length,
        text.width,
        text.heads,
        hidden(text.width, text.mlp_ratio),
    )
    .with_layers(text.layers);
    text_config.hidden_act = activation;
    let config = ClipConfig {
        text_config,
        vision_config: VisionConfig {
            hidden_size: vision.width,
            intermediate_size: hidden(vision.width, vision.mlp_ratio),
            num_hidden_layers: layers,
            num_attention_heads: vision.width / vision.head_width.max(1),
            image_size: vision.image_size,
            patch_size: vision.patch_size,
            hidden_act: activation,
            ..VisionConfig::default()
        },
        projection_dim: model_cfg.embed_dim,
    };
    config.validate()?;
    let default = Preprocessing::clip(vision.image_size);
    let preprocessing = Preprocessing {
        mean: preprocess_cfg.mean.unwrap_or(default.mean),
        std: preprocess_cfg.std.unwrap_or(default.std),
        ..default
    };
    Ok((config, preprocessing))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// open_clip's `ViT-L-14-quickgelu`.
    #[test]
    fn the_published_form_is_read() {
        let text = r#"{"model_cfg": {"embed_dim": 768, "quick_gelu": true,
            "vision_cfg": {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12}},
            "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}"#;
        let (config, preprocessing) = parse(text).unwrap();
        let vision = &config.vision_config;
        assert_eq!(
            (vision.num_attention_heads, vision.intermediate_size),
            (16, 4096)
        );
        assert_eq!(vision.hidden_act, Activation::QuickGelu);
        assert_eq!(config.text_config.intermediate_size, 3072);
        assert_eq!(config.text_config.eos_token_id, 49407);
        assert_eq!(preprocessing.mean, [0.5; 3]);
        let (config, _) = parse(&text.replace(r#""quick_gelu": true,"#, "")).unwrap();
        assert_eq!(config.text_config.hidden_act, Activation::Gelu);
    }

    #[test]
    fn other_towers_are_refused() {
        for (part, field) in [
            (
                r#""vision_cfg": {"timm_model_name": "vit_x"}, "text_cfg": {}"#,
                "timm_model_name",
            ),
            (
                r#""vision_cfg": {}, "text_cfg": {"hf_model_name": "bert"}"#,
                "hf_model_name",
            ),
            (
                r#""vision_cfg": {"layers": [3, 4, 6, 3]}, "text_cfg": {}"#,
                "layers",
            ),
        ] {
            let text = format!(r#"{{"model_cfg": {{"embed_dim": 8, {part}}}}}"#);
            let error = parse(&text).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }
}
