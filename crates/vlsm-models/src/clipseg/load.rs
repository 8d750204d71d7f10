//! Loads a CLIPSeg from a base's files.

use burn::tensor::Device;

use super::{ClipSeg, ClipSegConfig};
use crate::error::Result;
use crate::files::{Files, Loaded, PREPROCESSOR, config_error, fill};

/// A CLIPSeg as Transformers writes it: `config.json`, `preprocessor_config.json`, the weights, and a vocabulary, by default
/// CLIP's.
pub(crate) fn load(mut files: Files, device: &Device) -> Result<Loaded<ClipSeg>> {
    let (path, text) = files.take_config()?;
    let config = ClipSegConfig::parse(&text).map_err(config_error(&path))?;
    let preprocessing = files.preprocessing(config.preprocessing())?;
    if files.preprocessor.is_none() {
        tracing::warn!(
            "base `{}` has no `{PREPROCESSOR}`; its input is taken to be {} pixels, the size of its position embeddings \
             (CIDAS/clipseg-rd64-refined was trained at 352)",
            files.weights.display(),
            preprocessing.image_size
        );
    }
    let tokenizer = files.tokenizer_or_clip()?;
    Ok(Loaded {
        network: fill(config.init(device), files.tensors, &files.weights)?,
        preprocessing,
        tokenizer,
    })
}
