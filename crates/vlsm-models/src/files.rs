//! The files of a base: found, read, and put into a network.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use serde::{Deserialize, Serialize};

use crate::builtin;
use crate::error::{ModelError, Result};
use crate::hub;
use crate::preprocess::Preprocessing;
use crate::tensor_file::{self, HostTensor};
use crate::tokenizer::Tokenizer;
use crate::weights;

/// The file with the size and normalisation of the input.
pub(crate) const PREPROCESSOR: &str = "preprocessor_config.json";
/// The file of a base's own vocabulary.
pub(crate) const TOKENIZER: &str = "tokenizer.json";

/// Identifies the parameters of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseIdentity {
    /// The name it was loaded by.
    pub name: String,
    /// A hash of its parameters.
    pub fingerprint: String,
}

/// The files of a base, read.
pub(crate) struct Files {
    /// Path and text of the configuration; `None` for a file of weights alone.
    pub(crate) config: Option<(PathBuf, String)>,
    /// Path and text of the configuration of the base that the decoder is taken from, if it is another base.
    pub(crate) decoder: Option<(PathBuf, String)>,
    /// Path and text of `preprocessor_config.json`, if there is one.
    pub(crate) preprocessor: Option<(PathBuf, String)>,
    /// The vocabulary, if one is next to the weights.
    pub(crate) tokenizer: Option<Tokenizer>,
    /// The file of the weights; for a builtin base its name.
    pub(crate) weights: PathBuf,
    /// The commit on the hub.
    pub(crate) revision: Option<String>,
    /// Optional files that are not in the hub's cache and that the hub may have.
    pub(crate) unfetched: Vec<&'static str>,
    /// The weights.
    pub(crate) tensors: BTreeMap<String, HostTensor>,
}

/// What an architecture makes of a base's files.
pub(crate) struct Loaded<N> {
    pub(crate) network: N,
    pub(crate) preprocessing: Preprocessing,
    pub(crate) tokenizer: Tokenizer,
}

impl<N> Loaded<N> {
    /// The same with the network converted.
    pub(crate) fn map<M>(self, convert: impl FnOnce(N) -> M) -> Loaded<M> {
        Loaded {
            network: convert(self.network),
            preprocessing: self.preprocessing,
            tokenizer: self.tokenizer,
        }
    }
}

impl Files {
    /// Reads the files of one base, by the name of a builtin base, a folder, a file of weights, or a repository on the hub.
    pub(crate) fn find(name: &str) -> Result<Self> {
        if let Some(builtin) = builtin::find(name)? {
            let path = PathBuf::from(name);
            return Ok(Self {
                config: Some((path.clone(), builtin.config.to_owned())),
                decoder: None,
                preprocessor: Some((path.clone(), builtin.preprocessor.to_owned())),
                tokenizer: None,
                tensors: builtin.tensors(&path)?,
                weights: path,
                revision: None,
                unfetched: Vec::new(),
            });
        }
        let files = hub::resolve(name)?;
        let config = match files.config {
            Some(path) => read_optional(path)?,
            None => None,
        };
        Ok(Self {
            config,
            decoder: None,
            preprocessor: read_optional(files.folder.join(PREPROCESSOR))?,
            tokenizer: Tokenizer::from_folder(&files.folder)?,
            tensors: read_weights(&files.weights)?,
            weights: files.weights,
            revision: files.revision,
            unfetched: files.unfetched,
        })
    }

    /// Path and text of the configuration.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn take_config(&mut self) -> Result<(PathBuf, String)> {
        let config = self.config.take();
        config.ok_or_else(|| {
            let message = "there is no configuration; give the folder that has it, not the file";
            weights_error(&self.weights)(message.into())
        })
    }

    /// The preprocessing of `preprocessor_config.json`; what the file does not say, or all if there is none, is `default`.
    ///
    /// # Errors
    /// If the file is malformed, or is not in the cache and the hub may have it.
    pub(crate) fn preprocessing(&self, default: Preprocessing) -> Result<Preprocessing> {
        match &self.preprocessor {
            Some((path, text)) => Preprocessing::parse(text, default).map_err(config_error(path)),
            None if self.unfetched.contains(&PREPROCESSOR) => {
                Err(self.unfetched_error(PREPROCESSOR, "so the size of the input is unknown"))
            }
            None => Ok(default),
        }
    }

    /// An error about a file that the hub may have.
    pub(crate) fn unfetched_error(&self, name: &str, consequence: &str) -> ModelError {
        let path = self.weights.with_file_name(name);
        config_error(&path)(format!(
            "the file is not in the cache, and the hub, which may have it, was not reached, {consequence}; load the base once \
             with access to the hub (without HF_HUB_OFFLINE)"
        ))
    }

    /// The base's own vocabulary, or CLIP's.
    pub(crate) fn tokenizer_or_clip(&mut self) -> Result<Tokenizer> {
        match self.tokenizer.take() {
            Some(tokenizer) => Ok(tokenizer),
            None => Ok(Tokenizer::embedded()?),
        }
    }
}

/// What wrappers in training put before names: parallel training, Lightning, detectron2.
pub(crate) const WRAPPERS: [&str; 3] = ["module.", "net.", "model."];

/// A name of a tensor without what wrappers put before it.
pub(crate) fn without_wrappers(mut name: &str) -> &str {
    while let Some(rest) = WRAPPERS.iter().find_map(|start| name.strip_prefix(start)) {
        name = rest;
    }
    name
}

/// The tensors of a file of weights.
///
/// # Errors
/// If it cannot be read, or a weight is infinite or not a number.
pub(crate) fn read_weights(path: &Path) -> Result<BTreeMap<String, HostTensor>> {
    let file = tensor_file::read(path)?;
    file.expect_finite(path)?;
    Ok(file.tensors)
}

/// Path and text of a file, if it exists.
fn read_optional(path: PathBuf) -> Result<Option<(PathBuf, String)>> {
    match read_text(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Read { path, source }),
    }
}

/// The text of a configuration file, of a size that a configuration can have: parsed, a file takes over ten times its size.
fn read_text(path: &Path) -> io::Result<String> {
    const MOST_BYTES: u64 = 4 << 20;
    let bytes = vlsm_image::fs::read_up_to(path, MOST_BYTES)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Parses a configuration file; an error names the file.
pub(crate) fn read_config<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> std::result::Result<T, String>,
) -> Result<T> {
    let text = read_text(path).map_err(|source| ModelError::Read {
        path: path.into(),
        source,
    })?;
    parse(&text).map_err(config_error(path))
}

/// Makes a message an error about a configuration file.
pub(crate) fn config_error(path: &Path) -> impl Fn(String) -> ModelError {
    move |message| ModelError::Config {
        path: path.into(),
        message,
    }
}

/// Makes a message an error about a file of weights.
pub(crate) fn weights_error(path: &Path) -> impl Fn(String) -> ModelError {
    move |message| ModelError::Weights {
        path: path.into(),
        message,
    }
}

/// A hash of the names, shapes and values of parameters.
pub fn fingerprint(tensors: &BTreeMap<String, HostTensor>) -> String {
    tensor_file::fingerprint(tensors.iter().map(|(name, tensor)| {
        (
            name.as_str(),
            tensor.shape.as_slice(),
            tensor.data.as_slice(),
        )
    }))
}

/// Puts the tensors of a file into all parameters of a network.
///
/// # Errors
/// If a tensor is missing, extra or of another shape.
pub(crate) fn fill<M: Module>(
    network: M,
    tensors: BTreeMap<String, HostTensor>,
    path: &Path,
) -> Result<M> {
    let (network, mismatch) = weights::import(network, tensors, |_| true);
    match mismatch.is_empty() {
        true => Ok(network),
        false => Err(weights_error(path)(mismatch.describe())),
    }
}
