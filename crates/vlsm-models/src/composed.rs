//! The files of a base, which can be those of two: the towers of one and the decoder of another.

use std::path::Path;

use crate::clipseg::release;
use crate::error::{ModelError, Result};
use crate::files::Files;
use crate::registry::Architecture;

/// Prefix of the names of a decoder's parameters.
const DECODER: &str = "decoder.";

/// The files of a base. For `TOWERS+DECODER` these are the files of one base with the decoder of another.
pub(crate) fn find(name: &str) -> Result<Files> {
    match name.split_once('+') {
        Some((towers, decoder)) if !Path::new(name).exists() => {
            with_decoder(Files::find(towers)?, Files::find(decoder)?)
        }
        _ => match release::in_folder(Path::new(name))? {
            Some((towers, decoder)) => {
                let files = |path: &Path| Files::find(&path.to_string_lossy());
                release::compose(files(&towers)?, files(&decoder)?)
            }
            None => Files::find(name),
        },
    }
}

/// The files of a base with another base's decoder.
fn with_decoder(mut towers: Files, mut decoder: Files) -> Result<Files> {
    if release::is_decoder(&decoder.tensors) {
        return release::compose(towers, decoder);
    }
    for files in [&towers, &decoder] {
        if architecture(files).is_some_and(|architecture| !architecture.composes()) {
            return Err(ModelError::Weights {
                path: files.weights.clone(),
                message:
                    "`TOWERS+DECODER` only works with CLIPSeg and BiomedCLIP bases; remove the `+`"
                        .into(),
            });
        }
    }
    let is_decoder = |name: &str| name.starts_with(DECODER);
    decoder.tensors.retain(|name, _| is_decoder(name));
    if decoder.tensors.is_empty() {
        return Err(ModelError::Weights {
            path: decoder.weights,
            message: "it has no decoder; name a CLIPSeg after the `+`".into(),
        });
    }
    towers.tensors.retain(|name, _| !is_decoder(name));
    towers.tensors.extend(decoder.tensors);
    towers.decoder = decoder.config;
    Ok(towers)
}

/// Detects the architecture from the configuration, or from the tensors if there is none.
pub(crate) fn architecture(files: &Files) -> Option<Architecture> {
    match &files.config {
        Some((path, text)) => Some(Architecture::of_config(path, text)),
        None => Architecture::of_tensors(&files.tensors),
    }
}
