//! BiomedCLIP (Zhang et al. 2023), and BiomedCLIPSeg (Poudel et al. 2023): its towers with CLIPSeg's decoder.
//!
//! It is a [`ClipSeg`](crate::clipseg::ClipSeg) whose vision tower is timm's ViT-B/16 and whose text tower is PubMedBERT, so
//! that adapters and everything else work on it as on a CLIPSeg. What is here is open_clip's format: its configuration, and
//! its names of parameters. CLIPSeg's decoder stands in a file beside the towers, as `decoder.*`, its configuration as
//! `model_cfg.decoder_cfg`; where it does not, as in BiomedCLIP itself, it is random.
//!
//! What the published code does otherwise: it taps the layers behind those that CLIPSeg's configuration names (4, 7 and 10
//! instead of 3, 6 and 9, counted from 0), since it adds one for the embeddings, which are not in its list of states.
//! Profile `paper` does so. And it leaves BERT's dropout on in training; that is not done here.

mod config;
mod names;

use burn::tensor::Device;

pub use config::to_json;
pub(crate) use config::{parse, whole};
pub use names::{from_open_clip, to_open_clip};

use crate::base::{Files, Loaded, Network};
use crate::error::{ModelError, Result};
use crate::init;
use crate::preprocess::Preprocessing;
use crate::weights;

/// What the decoder of a base without one is initialised by, where it is not trained.
const DECODER_SEED: u64 = 0;

/// A BiomedCLIP as open_clip writes it, with or without CLIPSeg's decoder: `open_clip_config.json`, the weights and the
/// vocabulary.
pub(crate) fn load(files: Files, device: &Device) -> Result<Loaded> {
    let wrong = |path, message| ModelError::Config { path, message };
    let (path, text) = files.config.unwrap_or_default();
    let decoder = files.decoder.as_ref().map(|(_, text)| text.as_str());
    let parsed = parse(&text, decoder);
    let mut config = parsed.map_err(|message| wrong(path.clone(), message))?;
    let preprocessing = match config::preprocessing(&text, &config) {
        Ok(preprocessing) => preprocessing,
        Err(message) => return Err(wrong(path, message)),
    };
    let Some(tokenizer) = files.tokenizer else {
        let message = "the text tower needs its `tokenizer.json` beside this file; copy it there \
                       from where the model came from";
        return Err(wrong(path, message.into()));
    };
    let mut tensors = from_open_clip(files.tensors);
    config.fresh_decoder = !tensors.keys().any(|name| name.starts_with("decoder."));
    if config.fresh_decoder {
        tensors.extend(init::decoder(&config, DECODER_SEED));
    }
    let (clipseg, mut misfits) = weights::import(config.init(device), tensors, |_| true);
    if !misfits.is_empty() {
        for name in misfits.missing.iter_mut().chain(&mut misfits.extra) {
            *name = names::in_open_clip(name);
        }
        for (name, ..) in &mut misfits.misshaped {
            *name = names::in_open_clip(name);
        }
        return Err(ModelError::Weights {
            path: files.weights,
            message: misfits.describe(),
        });
    }
    Ok(Loaded {
        network: Network::ClipSeg(clipseg),
        preprocessing: Preprocessing {
            image_size: config.vision_config.image_size,
            ..preprocessing
        },
        tokenizer,
    })
}
