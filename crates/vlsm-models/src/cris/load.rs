//! Loads a CRIS from a base's files.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;

use super::init::without_clip;
use super::names;
use super::{Cris, CrisConfig};
use crate::error::Result;
use crate::files::{self, Files, Loaded, config_error, fill, weights_error};
use crate::preprocess::Preprocessing;
use crate::tensor_file::HostTensor;

/// The seed for what a plain CLIP does not have. Training draws it again from its own seed.
const SEED: u64 = 0;

/// A CRIS: a folder with `config.json`, or a file of weights alone, which may be a plain CLIP with a ResNet. What a CLIP does
/// not have is random.
pub(crate) fn load(mut files: Files, device: &Device) -> Result<Loaded<Cris>> {
    let tensors = std::mem::take(&mut files.tensors);
    let cris = match &files.config {
        Some((path, text)) => {
            let config = CrisConfig::parse(text).map_err(config_error(path))?;
            Cris::from_tensors(&config, tensors, &files.weights, device)?
        }
        None => {
            let (config, weights, fresh) = complete(tensors, &files.weights, SEED)?;
            let cris = fill(config.init(device), weights, &files.weights)?;
            Cris { fresh, ..cris }
        }
    };
    let preprocessing = files.preprocessing(Preprocessing::clip(cris.config().image_size))?;
    Ok(Loaded {
        network: cris,
        preprocessing,
        tokenizer: files.tokenizer_or_clip()?,
    })
}

impl Cris {
    /// Makes the network from tensors under published names, read from `path`. All parameters must be there: tensors of a
    /// CLIP alone are not enough, see [`read_weights`].
    ///
    /// # Errors
    /// If a tensor is missing, extra or of another shape.
    pub fn from_tensors(
        config: &CrisConfig,
        tensors: BTreeMap<String, HostTensor>,
        path: &Path,
        device: &Device,
    ) -> Result<Self> {
        let tensors = names::from_file(tensors).map_err(weights_error(path))?;
        fill(config.init(device), tensors, path)
    }
}

/// Reads a CRIS checkpoint or a CLIP with a ResNet (OpenAI's `RN50.pt` or its state dict). What a CLIP does not have (neck,
/// decoder, projector and the pool's residual) is initialised by `seed`. Returns the configuration, as far as shapes show
/// it, and the weights by their names in the module.
///
/// # Errors
/// If the file is malformed, or holds neither a CRIS nor a CLIP with a ResNet; names the tensor.
pub fn read_weights(path: &Path, seed: u64) -> Result<(CrisConfig, BTreeMap<String, HostTensor>)> {
    let tensors = files::read_weights(path)?;
    let (config, weights, _) = complete(tensors, path, seed)?;
    Ok((config, weights))
}

/// As [`read_weights`], of tensors read from `path`; and whether they are a CLIP's, so that the rest is random.
fn complete(
    tensors: BTreeMap<String, HostTensor>,
    path: &Path,
    seed: u64,
) -> Result<(CrisConfig, BTreeMap<String, HostTensor>, bool)> {
    let wrong = weights_error(path);
    let tensors = names::unwrapped(tensors);
    if tensors.contains_key("backbone.visual.class_embedding") {
        let message =
            "CRIS needs a CLIP with a ResNet, and this one has a vision transformer; use RN50.pt";
        return Err(wrong(message.into()));
    }
    let config = CrisConfig::of_weights(&tensors).map_err(&wrong)?;
    let fresh = !tensors.keys().any(|name| name.starts_with("neck."));
    let mut weights = names::from_file(tensors).map_err(&wrong)?;
    if fresh {
        weights.extend(without_clip(&config, seed));
    }
    Ok((config, weights, fresh))
}
