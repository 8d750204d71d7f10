//! A CRIS from the files of a base.

use burn::tensor::Device;

use super::published::{self, Published};
use super::{Cris, CrisConfig};
use crate::base::{Files, Loaded, Network, fill};
use crate::error::{ModelError, Result};
use crate::preprocess::Preprocessing;
use crate::tokenizer::Tokenizer;

/// What a plain CLIP lacks is initialised by, where it is not trained.
const SEED: u64 = 0;

/// A CRIS: a folder with `config.json`, or a file of weights alone, which may be a plain CLIP's with a ResNet; what that
/// lacks is random.
pub(crate) fn load(files: Files, device: &Device) -> Result<Loaded> {
    let wrong = |path, message| ModelError::Config { path, message };
    let cris = match files.config {
        Some((path, text)) => {
            let config = CrisConfig::parse(&text).map_err(|message| wrong(path, message))?;
            published::load(&config, files.tensors, &files.weights, device)?
        }
        None => {
            let Published {
                config,
                weights,
                fresh,
            } = published::of_tensors(files.tensors, &files.weights, SEED)?;
            let cris = fill(config.init(device), weights, &files.weights)?;
            Cris { fresh, ..cris }
        }
    };
    let mut preprocessing = Preprocessing::clip(cris.config().image_size);
    if let Some((path, text)) = files.preprocessor {
        preprocessing =
            Preprocessing::parse(&text, preprocessing).map_err(|message| wrong(path, message))?;
    }
    Ok(Loaded {
        network: Network::Cris(cris),
        preprocessing,
        tokenizer: match files.tokenizer {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::embedded()?,
        },
    })
}
