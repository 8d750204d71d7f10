//! Loads a SAN from a base's files.

use std::collections::BTreeMap;

use burn::tensor::Device;

use super::{San, SanConfig};
use crate::error::Result;
use crate::files::{Files, Loaded, config_error, weights_error};
use crate::preprocess::Preprocessing;
use crate::tensor_file::HostTensor;

/// What the side network of a plain CLIP is initialised by, where it is not trained.
const SIDE_SEED: u64 = 0;

/// What the patch embedding's weights are named by, in whichever file.
const PATCHES: [&str; 3] = [
    "visual.conv1.weight",
    "clip_visual_extractor.conv1.weight",
    "vision_model.embeddings.patch_embedding.weight",
];

/// A SAN, or a plain CLIP, which gets a random side network: a folder with `config.json`, or a file of weights alone, which
/// must then be one of CLIP ViT-B/16.
pub(crate) fn load(mut files: Files, device: &Device) -> Result<Loaded<San>> {
    let tensors = std::mem::take(&mut files.tensors);
    let config = match &files.config {
        Some((path, text)) => SanConfig::parse(text).map_err(config_error(path))?,
        None => of_weights(&tensors).map_err(weights_error(&files.weights))?,
    };
    let san = San::from_tensors(&config, tensors, &files.weights, SIDE_SEED, device)?;
    let default = Preprocessing::clip(config.side_config.image_size);
    // A plain CLIP's own input size is not the side network's.
    let preprocessing = match san.is_fresh() {
        true => default,
        false => files.preprocessing(default)?,
    };
    Ok(Loaded {
        network: san,
        preprocessing,
        tokenizer: files.tokenizer_or_clip()?,
    })
}

/// The configuration of weights alone: that of CLIP ViT-B/16, if their patches are.
fn of_weights(tensors: &BTreeMap<String, HostTensor>) -> std::result::Result<SanConfig, String> {
    let config = SanConfig::default();
    let vision = &config.vision_config;
    let expected = [vision.hidden_size, 3, vision.patch_size, vision.patch_size];
    let mut patches = tensors.iter();
    let patches = patches.find(|(name, _)| PATCHES.iter().any(|end| name.ends_with(end)));
    match patches {
        Some((name, tensor)) if tensor.shape != expected => Err(format!(
            "`{name}` is {:?}, but in CLIP ViT-B/16, which a file alone must be of, {expected:?}; put \
             the file into a folder as `model.safetensors` or `pytorch_model.bin`, with a \
             `config.json` that has `model_type` \"san\" and describes it",
            tensor.shape
        )),
        _ => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_alone_are_of_vit_b_16() {
        let tensors = |name: &str, patch: usize| {
            let shape = vec![768, 3, patch, patch];
            let data = Vec::new();
            BTreeMap::from([(name.to_owned(), HostTensor { shape, data })])
        };
        for start in ["", "net.clip_model.", "model.clip_"] {
            let end = if start == "model.clip_" {
                "visual_extractor"
            } else {
                "visual"
            };
            let name = format!("{start}{end}.conv1.weight");
            assert!(of_weights(&tensors(&name, 16)).is_ok());
            let error = of_weights(&tensors(&name, 32)).unwrap_err();
            assert!(
                error.contains(&name) && error.contains("config.json"),
                "{error}"
            );
        }
    }
}
