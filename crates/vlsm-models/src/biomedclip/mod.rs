//! BiomedCLIP (Zhang et al. 2023), and BiomedCLIPSeg (Poudel et al. 2023): its towers with CLIPSeg's decoder.
//!
//! It is a [`ClipSeg`] whose vision tower is timm's ViT-B/16 and whose text tower is PubMedBERT, so
//! that adapters and everything else work on it as on a CLIPSeg. This module has open_clip's format: its configuration and
//! its names of parameters. CLIPSeg's decoder is in the same file as the towers, as `decoder.*`, its configuration in
//! `model_cfg.decoder_cfg`. Without them, as in BiomedCLIP itself, the decoder is random.
//!
//! The published code taps the layers after those that CLIPSeg's configuration names (4, 7 and 10 instead of 3, 6 and 9,
//! counted from 0), since it adds one for the embeddings, which are not in its list of states. Profile `paper` does so. It
//! also leaves BERT's dropout on in training, unlike this crate.

mod config;
pub mod names;
mod spec;

use burn::tensor::Device;

pub(crate) use config::parse;
pub use config::{biomedclipseg, to_json};
pub(crate) use spec::Spec;

use crate::clipseg::{ClipSeg, random_decoder};
use crate::error::{ModelError, Result};
use crate::files::{Files, Loaded, TOKENIZER, config_error};
use crate::preprocess::Preprocessing;
use crate::weights;

/// The seed for the decoder of a base without one. Training draws it again from its own seed.
const DECODER_SEED: u64 = 0;

/// A BiomedCLIP as open_clip writes it, with or without CLIPSeg's decoder: `open_clip_config.json`, the weights and the
/// vocabulary.
pub(crate) fn load(mut files: Files, device: &Device) -> Result<Loaded<ClipSeg>> {
    let (path, text) = files.take_config()?;
    let wrong = config_error(&path);
    let decoder = files.decoder.as_ref().map(|(_, text)| text.as_str());
    let mut config = parse(&text, decoder).map_err(&wrong)?;
    let preprocessing = config::preprocessing(&text, &config).map_err(&wrong)?;
    if files.tokenizer.is_none() && files.unfetched.contains(&TOKENIZER) {
        return Err(files.unfetched_error(TOKENIZER, "so prompts cannot be encoded"));
    }
    let Some(tokenizer) = files.tokenizer else {
        let message = "the text tower needs its `tokenizer.json` next to this file; copy it there \
                       from where the model came from";
        return Err(wrong(message.into()));
    };
    let mut tensors = names::from_file(files.tensors);
    config.fresh_decoder = !tensors.keys().any(|name| name.starts_with("decoder."));
    if config.fresh_decoder {
        tensors.extend(random_decoder(&config, DECODER_SEED));
    }
    let (clipseg, mut mismatch) = weights::import(config.init(device), tensors, |_| true);
    if !mismatch.is_empty() {
        for name in mismatch.missing.iter_mut().chain(&mut mismatch.extra) {
            *name = names::in_open_clip(name);
        }
        for (name, ..) in &mut mismatch.shape_mismatches {
            *name = names::in_open_clip(name);
        }
        return Err(ModelError::Weights {
            path: files.weights,
            message: mismatch.describe(),
        });
    }
    Ok(Loaded {
        network: clipseg,
        preprocessing: Preprocessing {
            image_size: config.vision_config.image_size,
            ..preprocessing
        },
        tokenizer,
    })
}
