//! A CLIPSeg from the files of a base.

use burn::tensor::Device;

use crate::base::{Files, Loaded, Network, fill};
use crate::config::ClipSegConfig;
use crate::error::{ModelError, Result};
use crate::preprocess::Preprocessing;
use crate::tokenizer::Tokenizer;

/// A CLIPSeg as Transformers writes it: `config.json`, `preprocessor_config.json`, the weights, and a vocabulary, in whose
/// absence it is CLIP's.
pub(crate) fn load(files: Files, device: &Device) -> Result<Loaded> {
    let wrong = |path, message| ModelError::Config { path, message };
    let (path, text) = files.config.unwrap_or_default();
    let config = ClipSegConfig::parse(&text).map_err(|message| wrong(path, message))?;
    let mut preprocessing = Preprocessing::of(&config);
    if let Some((path, text)) = files.preprocessor {
        preprocessing =
            Preprocessing::parse(&text, preprocessing).map_err(|message| wrong(path, message))?;
    }
    let tokenizer = match files.tokenizer {
        Some(tokenizer) => tokenizer,
        None => Tokenizer::embedded()?,
    };
    let clipseg = fill(config.init(device), files.tensors, &files.weights)?;
    Ok(Loaded {
        network: Network::ClipSeg(clipseg),
        preprocessing,
        tokenizer,
    })
}
