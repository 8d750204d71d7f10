//! The original release of CLIPSeg (`timojl/clipseg`): a decoder (`rd64-uni.pth`, `rd64-uni-refined.pth`, `rd16-uni.pth`) on
//! the towers of OpenAI's CLIP (`ViT-B-16.pt`). Its files have no configuration; what shapes show is read from them.

use std::path::{Path, PathBuf};

use super::ClipSegConfig;
use crate::clip::config::{TextConfig, VisionConfig};
use crate::clip::openai;
use crate::error::{ModelError, Result};
use crate::files::{Files, PREPROCESSOR, weights_error};
use crate::methods::Tensors;
use crate::preprocess::Preprocessing;
use crate::tensor_file::HostTensor;

/// The towers' file in a folder of the release, as OpenAI names it.
const TOWERS: &str = "ViT-B-16.pt";
/// Input side, in pixels, in the release's notebook.
const IMAGE_SIZE: usize = 352;
/// Width of a head in CLIP's towers.
const HEAD: usize = 64;

/// Beginnings of the decoder's names: in the release, and in Transformers.
const NAMES: [(&str, &str); 4] = [
    ("film_", "decoder.film_"),
    ("reduces.", "decoder.reduces."),
    ("trans_conv.", "decoder.transposed_convolution."),
    ("blocks.", "decoder.layers."),
];

/// Names in a layer of the decoder, but for the joint projection.
const IN_LAYER: [(&str, &str); 5] = [
    ("self_attn.out_proj.", "self_attn.out_proj."),
    ("linear1.", "mlp.fc1."),
    ("linear2.", "mlp.fc2."),
    ("norm1.", "layer_norm1."),
    ("norm2.", "layer_norm2."),
];

/// The files of a folder that holds the release: the towers and the decoder. `None` for other folders.
///
/// # Errors
/// If there are several decoders; the message says how to name one.
pub(crate) fn in_folder(folder: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let towers = folder.join(TOWERS);
    if !towers.is_file() || folder.join("config.json").exists() {
        return Ok(None);
    }
    let files = std::fs::read_dir(folder).map_err(|source| ModelError::Read {
        path: folder.into(),
        source,
    })?;
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    let mut decoders: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|ending| ending == "pth"))
        .collect();
    decoders.sort();
    match &decoders[..] {
        [decoder] => Ok(Some((towers, decoder.clone()))),
        [] => Err(weights_error(&towers)(
            "the towers are there, but no decoder; put `rd64-uni.pth` into the same folder".into(),
        )),
        [first, ..] => Err(weights_error(folder)(format!(
            "there are several decoders (.pth); name one, as `{}+{}`",
            towers.display(),
            first.display()
        ))),
    }
}

/// Whether tensors are a decoder of the release.
pub(crate) fn is_decoder(tensors: &Tensors) -> bool {
    tensors.contains_key("film_mul.weight") && tensors.contains_key("reduces.0.weight")
}

/// The files of the release as those of a base in Transformers' format.
///
/// # Errors
/// If the towers are not a CLIP with a vision transformer, or the shapes describe no CLIPSeg.
pub(crate) fn compose(towers: Files, decoder: Files) -> Result<Files> {
    let clip = towers_tensors(towers.tensors).map_err(weights_error(&towers.weights))?;
    let config = config(&clip, &decoder.tensors).map_err(weights_error(&decoder.weights))?;
    let mut tensors = decoder_tensors(decoder.tensors);
    tensors.extend(clip);
    let described = decoder.weights.with_extension("config.json");
    let preprocessor = Preprocessing::imagenet(IMAGE_SIZE).to_json().to_string();
    Ok(Files {
        config: Some((described, config.to_json()?.to_string())),
        decoder: None,
        preprocessor: Some((PathBuf::from(PREPROCESSOR), preprocessor)),
        tokenizer: towers.tokenizer,
        weights: decoder.weights,
        revision: towers.revision,
        unfetched: Vec::new(),
        tensors,
    })
}

/// The towers, in OpenAI's or Transformers' names, by the names in a CLIPSeg.
fn towers_tensors(tensors: Tensors) -> std::result::Result<Tensors, String> {
    let clip = openai::to_transformers(tensors);
    if !clip.contains_key("vision_model.embeddings.class_embedding") {
        return Err(
            "these are not the towers of a CLIP with a vision transformer; use OpenAI's `ViT-B-16.pt`"
                .into(),
        );
    }
    let clip = clip
        .into_iter()
        .filter(|(name, _)| !name.ends_with(".position_ids"));
    Ok(clip
        .map(|(name, tensor)| (format!("clip.{name}"), tensor))
        .collect())
}

/// The decoder by the names in a CLIPSeg. Unknown tensors keep their names, so that loading reports them.
fn decoder_tensors(tensors: Tensors) -> Tensors {
    let mut renamed = Tensors::new();
    for (name, tensor) in tensors {
        // Of the baseline in the same code; no CLIPSeg uses it.
        if name.starts_with("reduce.") {
            continue;
        }
        let mut known = NAMES.iter();
        let known = known.find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)));
        let Some(known) = known else {
            renamed.insert(name, tensor);
            continue;
        };
        if let Some((layer, field)) = known.split_once(".self_attn.in_proj_") {
            for (part, tensor) in ["q", "k", "v"].iter().zip(openai::thirds(tensor)) {
                renamed.insert(format!("{layer}.self_attn.{part}_proj.{field}"), tensor);
            }
            continue;
        }
        let in_layer = known.strip_prefix("decoder.layers.").and_then(|rest| {
            let (index, rest) = rest.split_once('.')?;
            IN_LAYER.iter().find_map(|(old, new)| {
                let field = rest.strip_prefix(old)?;
                Some(format!("decoder.layers.{index}.{new}{field}"))
            })
        });
        renamed.insert(in_layer.unwrap_or(known), tensor);
    }
    renamed
}

/// The configuration that the shapes show: of the towers by their names in a CLIPSeg, of the decoder by those in the release.
fn config(clip: &Tensors, decoder: &Tensors) -> std::result::Result<ClipSegConfig, String> {
    let side = |tensors: &Tensors, name: &str, axis: usize| {
        let found = tensors.get(name).map(|tensor: &HostTensor| &tensor.shape);
        let found = found.and_then(|shape| shape.get(axis).copied());
        found.ok_or_else(|| format!("tensor `{name}` is missing or of another shape"))
    };
    let of_clip = |name: &str, axis| side(clip, &format!("clip.{name}"), axis);
    let count = |tensors: &Tensors, start: &str, end: &str| {
        let names = tensors.keys();
        names
            .filter(|name| name.starts_with(start) && name.ends_with(end))
            .count()
    };
    let layers = |tower: &str| {
        let start = format!("clip.{tower}.encoder.layers.");
        count(clip, &start, ".layer_norm1.weight")
    };
    let patches = "vision_model.embeddings.patch_embedding.weight";
    let positions = of_clip("vision_model.embeddings.position_embedding.weight", 0)?;
    let (width, patch) = (of_clip(patches, 0)?, of_clip(patches, 2)?);
    let tokens = "text_model.embeddings.token_embedding.weight";
    let (vocabulary, text_width) = (of_clip(tokens, 0)?, of_clip(tokens, 1)?);
    let taps = count(decoder, "reduces.", ".weight");
    if taps != 3 {
        return Err(format!(
            "it has {taps} `reduces`; the released decoders have 3, for the layers 3, 6 and 9"
        ));
    }
    let last = u32::try_from(vocabulary).unwrap_or(u32::MAX);
    let config = ClipSegConfig {
        vision_config: VisionConfig {
            hidden_size: width,
            intermediate_size: of_clip("vision_model.encoder.layers.0.mlp.fc1.weight", 0)?,
            num_hidden_layers: layers("vision_model"),
            num_attention_heads: (width / HEAD).max(1),
            image_size: positions.saturating_sub(1).isqrt() * patch,
            patch_size: patch,
            ..VisionConfig::default()
        },
        text_config: TextConfig {
            vocab_size: vocabulary,
            hidden_size: text_width,
            intermediate_size: of_clip("text_model.encoder.layers.0.mlp.fc1.weight", 0)?,
            num_hidden_layers: layers("text_model"),
            num_attention_heads: (text_width / HEAD).max(1),
            max_position_embeddings: of_clip("text_model.embeddings.position_embedding.weight", 0)?,
            bos_token_id: last.saturating_sub(2),
            eos_token_id: last.saturating_sub(1),
            pad_token_id: last.saturating_sub(1),
            ..TextConfig::default()
        },
        projection_dim: of_clip("text_projection.weight", 0)?,
        reduce_dim: side(decoder, "film_mul.weight", 0)?,
        decoder_intermediate_size: side(decoder, "blocks.0.linear1.weight", 0)?,
        use_complex_transposed_convolution: decoder.contains_key("trans_conv.0.weight"),
        ..ClipSegConfig::default()
    };
    config.validate()?;
    Ok(config)
}
