//! `open_clip_config.json` of a BiomedCLIP.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::activation::Activation;
use crate::clip::config::{BertConfig, TextConfig, VisionConfig, check_sizes};
use crate::clipseg::ClipSegConfig;
use crate::preprocess::{Preprocessing, shortest};

/// The supported vision tower, by timm's name.
const VIT: &str = "vit_base_patch16_224";
/// The text tower, by its name on the hub.
const BERT: &str = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract";

#[derive(Deserialize)]
struct File {
    model_cfg: Model,
    #[serde(default)]
    preprocess_cfg: Preprocess,
}

#[derive(Deserialize)]
struct Model {
    embed_dim: usize,
    vision_cfg: Vision,
    text_cfg: Text,
    decoder_cfg: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Vision {
    timm_model_name: Option<String>,
    #[serde(default)]
    timm_model_kwargs: Vit,
}

/// Arguments of timm's function other than the name, with the values of [`VIT`].
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Vit {
    embed_dim: usize,
    depth: usize,
    num_heads: usize,
    mlp_ratio: f64,
    img_size: usize,
    patch_size: usize,
}

impl Default for Vit {
    fn default() -> Self {
        Self {
            embed_dim: 768,
            depth: 12,
            num_heads: 12,
            mlp_ratio: 4.0,
            img_size: 224,
            patch_size: 16,
        }
    }
}

#[derive(Default, Deserialize)]
struct Text {
    hf_model_name: Option<String>,
    hf_proj_type: Option<String>,
    hf_pooler_type: Option<String>,
    #[serde(default = "context_length")]
    context_length: usize,
    #[serde(default)]
    hf_model_config: Bert,
}

fn context_length() -> usize {
    256
}

/// The fields of Transformers' `BertConfig` that are used, with PubMedBERT's values.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Bert {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    pad_token_id: u32,
}

impl Default for Bert {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
        }
    }
}

#[derive(Default, Deserialize)]
struct Preprocess {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

fn file(text: &str) -> Result<File, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())
}

/// Parses an `open_clip_config.json`. The decoder is that of `decoder`, another model's `config.json`, where it is given,
/// else what the file says, else that of `CIDAS/clipseg-rd64-refined`.
pub(crate) fn parse(text: &str, decoder: Option<&str>) -> Result<ClipSegConfig, String> {
    let mut model = file(text)?.model_cfg;
    let fixed = [
        (
            "vision_cfg.timm_model_name",
            &model.vision_cfg.timm_model_name,
            VIT,
        ),
        ("text_cfg.hf_proj_type", &model.text_cfg.hf_proj_type, "mlp"),
        (
            "text_cfg.hf_pooler_type",
            &model.text_cfg.hf_pooler_type,
            "cls_last_hidden_state_pooler",
        ),
    ];
    for (field, found, known) in fixed {
        if found.as_deref() != Some(known) {
            let found = found
                .as_deref()
                .map_or("not set".into(), |found| format!("\"{found}\""));
            return Err(format!(
                "`model_cfg.{field}` is {found}; of open_clip's models only BiomedCLIP can be read, where it is \"{known}\""
            ));
        }
    }
    let name = model.text_cfg.hf_model_name.as_deref().unwrap_or_default();
    if !name.to_lowercase().contains("bert") {
        return Err(format!(
            "`model_cfg.text_cfg.hf_model_name` is \"{name}\"; of open_clip's models only BiomedCLIP can be read, where it \
             is \"{BERT}\""
        ));
    }
    let decoder_config: Option<Value> = match decoder {
        Some(text) => Some(serde_json::from_str(text).map_err(|error| error.to_string())?),
        None => model.decoder_cfg.take(),
    };
    // Taps in another model's file are that model's.
    let stated = decoder.is_none()
        && decoder_config
            .as_ref()
            .is_some_and(|value| value.get(TAPS).is_some());
    let base: ClipSegConfig = match decoder_config {
        Some(value) => serde_path_to_error::deserialize(value)
            .map_err(|error| format!("`decoder_cfg`: {error}"))?,
        None => ClipSegConfig::rd64_refined(),
    };
    let config = assembled(&model, base, stated);
    config.validate()?;
    // Positions and token types, which no field of the configuration's file holds.
    check_sizes(&model.text_cfg.hf_model_config)?;
    if model.text_cfg.hf_model_config.max_position_embeddings
        < config.text_config.max_position_embeddings
    {
        return Err("`text_cfg.context_length` is above `max_position_embeddings`".into());
    }
    if let Some(tap) = config.published_taps.iter().flatten().max()
        && *tap >= config.vision_config.num_hidden_layers
    {
        return Err(format!(
            "profile \"paper\" taps layer {tap}, but the vision tower has layers 0..{}; state \
             `model_cfg.decoder_cfg.{TAPS}`",
            config.vision_config.num_hidden_layers
        ));
    }
    Ok(config)
}

/// BiomedCLIP with the decoder of `CIDAS/clipseg-rd64-refined`.
pub fn biomedclipseg() -> ClipSegConfig {
    let model = Model {
        embed_dim: 512,
        vision_cfg: Vision::default(),
        text_cfg: Text {
            context_length: context_length(),
            ..Text::default()
        },
        decoder_cfg: None,
    };
    assembled(&model, ClipSegConfig::rd64_refined(), false)
}

/// The towers of a model with the decoder of `base`, whose taps are the model's own if that is `stated`.
fn assembled(model: &Model, base: ClipSegConfig, stated: bool) -> ClipSegConfig {
    let vit = &model.vision_cfg.timm_model_kwargs;
    let bert = &model.text_cfg.hf_model_config;
    let taps = base.extract_layers.iter();
    let next = taps.map(|tap| tap.saturating_add(1)).collect();
    ClipSegConfig {
        vision_config: VisionConfig {
            hidden_size: vit.embed_dim,
            intermediate_size: (vit.embed_dim as f64 * vit.mlp_ratio) as usize,
            num_hidden_layers: vit.depth,
            num_attention_heads: vit.num_heads,
            image_size: vit.img_size,
            patch_size: vit.patch_size,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            timm: true,
            ..VisionConfig::default()
        },
        text_config: TextConfig {
            vocab_size: bert.vocab_size,
            hidden_size: bert.hidden_size,
            intermediate_size: bert.intermediate_size,
            num_hidden_layers: bert.num_hidden_layers,
            num_attention_heads: bert.num_attention_heads,
            max_position_embeddings: model.text_cfg.context_length,
            hidden_act: Activation::Gelu,
            layer_norm_eps: bert.layer_norm_eps,
            pad_token_id: bert.pad_token_id,
            bert: Some(BertConfig {
                positions: bert.max_position_embeddings,
                token_types: bert.type_vocab_size,
                projection_hidden: bert.hidden_size.midpoint(model.embed_dim),
            }),
            ..TextConfig::default()
        },
        projection_dim: model.embed_dim,
        decoder_layer_norm_eps: Some(base.vision_config.layer_norm_eps),
        published_taps: (!stated).then_some(next),
        ..base
    }
}

const TAPS: &str = "extract_layers";

/// Input side and normalisation as an `open_clip_config.json` says; images are squashed to the square, as published.
pub(super) fn preprocessing(text: &str, config: &ClipSegConfig) -> Result<Preprocessing, String> {
    let Preprocess { mean, std } = file(text)?.preprocess_cfg;
    let own = config.preprocessing();
    Ok(Preprocessing {
        mean: mean.unwrap_or(own.mean),
        std: std.unwrap_or(own.std),
        ..own
    })
}

/// The `open_clip_config.json` of a configuration, with the decoder's in addition to open_clip's own entries.
///
/// # Errors
/// If the configuration cannot be serialised.
pub fn to_json(
    config: &ClipSegConfig,
    preprocessing: &Preprocessing,
) -> crate::error::Result<Value> {
    let (vision, text) = (&config.vision_config, &config.text_config);
    let vit = Vit {
        embed_dim: vision.hidden_size,
        depth: vision.num_hidden_layers,
        num_heads: vision.num_attention_heads,
        mlp_ratio: vision.intermediate_size as f64 / vision.hidden_size as f64,
        img_size: vision.image_size,
        patch_size: vision.patch_size,
    };
    let published = Bert::default();
    let own = text.bert.as_ref();
    let bert = Bert {
        vocab_size: text.vocab_size,
        hidden_size: text.hidden_size,
        num_hidden_layers: text.num_hidden_layers,
        num_attention_heads: text.num_attention_heads,
        intermediate_size: text.intermediate_size,
        max_position_embeddings: own.map_or(published.max_position_embeddings, |own| own.positions),
        type_vocab_size: own.map_or(published.type_vocab_size, |own| own.token_types),
        layer_norm_eps: text.layer_norm_eps,
        pad_token_id: text.pad_token_id,
    };
    let mut decoder = config.to_json()?;
    if let Some(decoder) = decoder.as_object_mut() {
        for field in [
            "text_config",
            "vision_config",
            "architectures",
            "model_type",
            "torch_dtype",
        ] {
            decoder.remove(field);
        }
        if config.published_taps.is_some() {
            decoder.remove(TAPS);
        }
    }
    Ok(json!({
        "model_cfg": {
            "embed_dim": config.projection_dim,
            "vision_cfg": {
                "timm_model_name": VIT,
                "timm_model_pretrained": false,
                "timm_pool": "",
                "timm_proj": "linear",
                "timm_model_kwargs": vit,
            },
            "text_cfg": {
                "hf_model_name": BERT,
                "hf_tokenizer_name": BERT,
                "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler",
                "context_length": text.max_position_embeddings,
                "hf_model_config": bert,
            },
            "decoder_cfg": decoder,
        },
        "preprocess_cfg": {
            "mean": preprocessing.mean.map(shortest),
            "std": preprocessing.std.map(shortest),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_larger_than_any_model_has_are_refused() {
        let config = biomedclipseg();
        let text = to_json(&config, &config.preprocessing()).unwrap();
        for (field, change) in [
            (TAPS, json!({ "decoder_cfg": { TAPS: [u64::MAX] } })),
            (
                "max_position_embeddings",
                json!({ "text_cfg": { "hf_model_config": { "max_position_embeddings": u64::MAX } } }),
            ),
        ] {
            let mut text = text.clone();
            merge(&mut text["model_cfg"], change);
            let error = parse(&text.to_string(), None).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }

    fn merge(into: &mut Value, change: Value) {
        match change {
            Value::Object(change) => {
                for (key, value) in change {
                    merge(&mut into[key], value);
                }
            }
            value => *into = value,
        }
    }
}
