//! A base: the pretrained model that adapters are put on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use vlsm_kernels::allocator::release_freed_memory;

use crate::adapter::BaseIdentity;
use crate::architecture::Architecture;
use crate::biomedclip;
use crate::builtin;
use crate::clipseg::{self, ClipSeg};
use crate::cris::{self, Cris};
use crate::error::{ModelError, Result};
use crate::hub;
use crate::preprocess::Preprocessing;
use crate::san::{self, San};
use crate::tensor_file::{self, HostTensor};
use crate::tokenizer::Tokenizer;
use crate::weights;

/// What the names of a decoder's parameters start with.
const DECODER: &str = "decoder.";

/// The network of a base, with its parameters and its configuration.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Network {
    /// CLIPSeg, or BiomedCLIPSeg, which differs from it in its towers alone.
    ClipSeg(ClipSeg),
    /// SAN.
    San(San),
    /// CRIS.
    Cris(Cris),
}

/// A loaded base with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Base {
    /// Its name and the fingerprint of its weights.
    pub identity: BaseIdentity,
    /// The file its weights are in; of a builtin base its name.
    pub weights: PathBuf,
    /// The commit on the hub; `None` for a folder or a builtin base.
    pub revision: Option<String>,
    /// How its input is made.
    pub preprocessing: Preprocessing,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
    /// Its network.
    pub network: Network,
}

/// What an architecture's loader makes of a base's files.
pub(crate) struct Loaded {
    pub(crate) network: Network,
    pub(crate) preprocessing: Preprocessing,
    pub(crate) tokenizer: Tokenizer,
}

/// The files of a base, read.
pub(crate) struct Files {
    /// What describes the network, and the file that it stands in; `None` for a file of weights alone.
    pub(crate) config: Option<(PathBuf, String)>,
    /// What describes the network that the decoder is taken from, where that is another.
    pub(crate) decoder: Option<(PathBuf, String)>,
    /// `preprocessor_config.json`, where there is one.
    pub(crate) preprocessor: Option<(PathBuf, String)>,
    /// The vocabulary, where one lies beside the weights.
    pub(crate) tokenizer: Option<Tokenizer>,
    /// The file that the weights are in; of a builtin base its name.
    pub(crate) weights: PathBuf,
    /// The commit on the hub.
    revision: Option<String>,
    /// The weights.
    pub(crate) tensors: BTreeMap<String, HostTensor>,
}

impl Base {
    /// Loads a base by the name of a folder, of a repository on the hub
    /// (`CIDAS/clipseg-rd64-refined`, with a revision behind `@`), or of one that is part of this
    /// library (`builtin:tiny`). What kind of network it is, its files tell.
    ///
    /// A file of weights alone will do for a SAN with CLIP ViT-B/16 and for a CRIS: a released checkpoint, one of
    /// VLSM-Adapter's code, or a plain CLIP, which gets a random side network (ViT-B/16) or a random neck and decoder (a
    /// ResNet, such as OpenAI's `RN50.pt`).
    ///
    /// `TOWERS+DECODER` are the towers of one base with the decoder of another: BiomedCLIP's with a CLIPSeg's is the
    /// BiomedCLIPSeg-D of Poudel et al. (2023), `microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224` alone their
    /// BiomedCLIPSeg, whose decoder is random.
    ///
    /// # Errors
    /// If it cannot be found, a file is malformed, or a tensor is missing, extra or mis-shaped.
    pub fn load(name: &str, device: &Device) -> Result<Self> {
        let mut files = Files::find(name)?;
        let fingerprint = fingerprint(&files.tensors);
        let (weights, revision) = (files.weights.clone(), files.revision.take());
        let Loaded {
            network,
            preprocessing,
            tokenizer,
        } = files.load(device)?;
        release_freed_memory();
        Ok(Self {
            identity: BaseIdentity {
                name: name.to_owned(),
                fingerprint,
            },
            weights,
            revision,
            preprocessing,
            tokenizer,
            network,
        })
    }
}

impl Files {
    fn find(name: &str) -> Result<Self> {
        if let Some(builtin) = builtin::find(name)? {
            let path = PathBuf::from(name);
            let file = tensor_file::parse_safetensors(builtin.weights, &path)?;
            return Ok(Self {
                config: Some((path.clone(), builtin.config.to_owned())),
                decoder: None,
                preprocessor: Some((path.clone(), builtin.preprocessor.to_owned())),
                tokenizer: None,
                weights: path,
                revision: None,
                tensors: file.tensors,
            });
        }
        if let Some((towers, decoder)) = name.split_once('+')
            && !Path::new(name).exists()
        {
            return Self::find(towers)?.with_decoder(Self::find(decoder)?);
        }
        let files = hub::resolve(name)?;
        let config = match files.config {
            Some(path) => read(path)?,
            None => None,
        };
        Ok(Self {
            config,
            decoder: None,
            preprocessor: read(files.folder.join("preprocessor_config.json"))?,
            tokenizer: Tokenizer::from_folder(&files.folder)?,
            tensors: tensor_file::read(&files.weights)?.tensors,
            weights: files.weights,
            revision: files.revision,
        })
    }

    /// The same with another base's decoder.
    fn with_decoder(mut self, other: Self) -> Result<Self> {
        for files in [&self, &other] {
            if matches!(
                files.architecture(),
                Some(Architecture::San | Architecture::Cris)
            ) {
                return Err(ModelError::Weights {
                    path: files.weights.clone(),
                    message: "towers and decoder are put together of CLIPSegs and BiomedCLIPs alone; name \
                              this base without a `+`"
                        .into(),
                });
            }
        }
        self.tensors.retain(|name, _| !name.starts_with(DECODER));
        let mut decoder = other.tensors;
        decoder.retain(|name, _| name.starts_with(DECODER));
        if decoder.is_empty() {
            return Err(ModelError::Weights {
                path: other.weights,
                message: "a decoder is wanted, but it has none; name a CLIPSeg behind the `+`"
                    .into(),
            });
        }
        self.tensors.extend(decoder);
        self.decoder = other.config;
        Ok(self)
    }

    /// The network that the files describe.
    fn load(self, device: &Device) -> Result<Loaded> {
        match self.architecture() {
            Some(Architecture::ClipSeg) => clipseg::load(self, device),
            Some(Architecture::BiomedClip) => biomedclip::load(self, device),
            Some(Architecture::San) => san::load(self, device),
            Some(Architecture::Cris) => cris::load(self, device),
            None => Err(ModelError::Unknown {
                first: self.tensors.keys().next().cloned().unwrap_or_default(),
                path: self.weights,
            }),
        }
    }

    /// That of the description, or else of the tensors; `None` if they are of none known.
    fn architecture(&self) -> Option<Architecture> {
        match &self.config {
            Some((path, text)) => Some(Architecture::of_config(path, text)),
            None => Architecture::of_tensors(&self.tensors),
        }
    }
}

/// Whether a file is one of weights of which [`Base::load`] tells a model.
///
/// # Errors
/// If it cannot be read.
pub fn is_base(path: &Path) -> Result<bool> {
    let tensors = tensor_file::read(path)?.tensors;
    Ok(Architecture::of_tensors(&tensors).is_some())
}

/// A file and its text, if it is there.
fn read(path: PathBuf) -> Result<Option<(PathBuf, String)>> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Read { path, source }),
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

/// Puts tensors of a file into all parameters of a network.
pub(crate) fn fill<M: Module>(
    network: M,
    tensors: BTreeMap<String, HostTensor>,
    path: &Path,
) -> Result<M> {
    let (network, misfits) = weights::import(network, tensors, |_| true);
    if misfits.is_empty() {
        Ok(network)
    } else {
        Err(ModelError::Weights {
            path: path.into(),
            message: misfits.describe(),
        })
    }
}
