//! A base: the pretrained model that adapters are put on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use vlsm_kernels::allocator::release_freed_memory;

use crate::adapter::BaseIdentity;
use crate::builtin;
use crate::clipseg::ClipSeg;
use crate::config::ClipSegConfig;
use crate::error::{ModelError, Result};
use crate::hub;
use crate::preprocess::Preprocessing;
use crate::tensor_file::{self, HostTensor};
use crate::tokenizer::ClipTokenizer;
use crate::weights;

/// A loaded base with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Base {
    /// Its name and the fingerprint of its weights.
    pub identity: BaseIdentity,
    /// The file its weights are in; of a builtin base its name.
    pub weights: PathBuf,
    /// The commit on the hub; `None` for a folder or a builtin base.
    pub revision: Option<String>,
    /// Its configuration.
    pub config: ClipSegConfig,
    /// How its input is made.
    pub preprocessing: Preprocessing,
    /// Its vocabulary.
    pub tokenizer: ClipTokenizer,
    /// Its parameters.
    pub clipseg: ClipSeg,
}

impl Base {
    /// Loads a base by the name of a folder, of a repository on the hub
    /// (`CIDAS/clipseg-rd64-refined`, with a revision behind `@`), or of one that is part of this
    /// library (`builtin:tiny`).
    ///
    /// # Errors
    /// If it cannot be found, a file is malformed, or a tensor is missing, extra or mis-shaped.
    pub fn load(name: &str, device: &Device) -> Result<Self> {
        let (config, preprocessing, tokenizer, file, path, revision);
        if let Some(builtin) = builtin::find(name)? {
            let wrong = |message| ModelError::Config {
                path: name.into(),
                message,
            };
            config = ClipSegConfig::parse(builtin.config).map_err(wrong)?;
            preprocessing = Preprocessing::parse(builtin.preprocessor, &config).map_err(wrong)?;
            tokenizer = ClipTokenizer::embedded()?;
            path = PathBuf::from(name);
            revision = None;
            file = tensor_file::parse_safetensors(builtin.weights, &path)?;
        } else {
            let files = hub::resolve(name)?;
            config = ClipSegConfig::read(&files.config)?;
            preprocessing = Preprocessing::read(&files.folder, &config)?;
            tokenizer = match ClipTokenizer::from_folder(&files.folder)? {
                Some(tokenizer) => tokenizer,
                None => ClipTokenizer::embedded()?,
            };
            path = files.weights;
            revision = files.revision;
            file = tensor_file::read(&path)?;
        }
        let fingerprint = fingerprint(&file.tensors);
        let clipseg = load_weights(&config, file.tensors, &path, device)?;
        release_freed_memory();
        Ok(Self {
            identity: BaseIdentity {
                name: name.to_owned(),
                fingerprint,
            },
            weights: path,
            revision,
            config,
            preprocessing,
            tokenizer,
            clipseg,
        })
    }
}

/// A hash of parameters: of their names, shapes and values.
pub fn fingerprint(tensors: &BTreeMap<String, HostTensor>) -> String {
    tensor_file::fingerprint(tensors.iter().map(|(name, tensor)| {
        (
            name.as_str(),
            tensor.shape.as_slice(),
            tensor.data.as_slice(),
        )
    }))
}

/// Puts tensors into a CLIPSeg of a configuration.
fn load_weights(
    config: &ClipSegConfig,
    tensors: BTreeMap<String, HostTensor>,
    path: &Path,
    device: &Device,
) -> Result<ClipSeg> {
    let (clipseg, misfits) = weights::import(config.init(device), tensors, |_| true);
    if misfits.is_empty() {
        Ok(clipseg)
    } else {
        Err(ModelError::Weights {
            path: path.into(),
            message: misfits.describe(),
        })
    }
}
