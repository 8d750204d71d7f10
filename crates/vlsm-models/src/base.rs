//! A base: the pretrained model that adapters are put on.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use crate::adapter_file::AdapterFile;
use crate::biomedclip;
use crate::clipseg;
use crate::contract::SegmentationModel;
use crate::cris;
use crate::error::{ModelError, Result};
use crate::files::{BaseIdentity, Files, Loaded, fingerprint};
use crate::methods::MethodConfig;
use crate::preprocess::Preprocessing;
use crate::registry::{Architecture, Model, Network};
use crate::san;
use crate::tensor_file;
use crate::tokenizer::Tokenizer;

/// What the names of a decoder's parameters start with.
const DECODER: &str = "decoder.";

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
        let mut files = find(name)?;
        let fingerprint = fingerprint(&files.tensors);
        let (weights, revision) = (files.weights.clone(), files.revision.take());
        let Loaded {
            network,
            preprocessing,
            tokenizer,
        } = files.load(device)?;
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

impl Model {
    /// A base with what the method trains on it, freshly initialised by `seed`.
    ///
    /// # Errors
    /// If the method does not go with the base.
    pub fn new(base: &Base, method: MethodConfig, seed: u64) -> Result<Self> {
        Self::of_network(&base.network, method, seed)
    }

    /// A base with the trained parameters of an adapter file.
    ///
    /// # Errors
    /// If the file is for another base or does not fit this one.
    pub fn with_adapter(base: &Base, adapter: AdapterFile) -> Result<Self> {
        adapter.check_base(&base.identity)?;
        Self::new(base, adapter.method.clone(), 0)?.load(adapter)
    }
}

/// The files of a base, or of one base's towers and another's decoder.
fn find(name: &str) -> Result<Files> {
    match name.split_once('+') {
        Some((towers, decoder)) if !Path::new(name).exists() => {
            Files::find(towers)?.with_decoder(Files::find(decoder)?)
        }
        _ => Files::find(name),
    }
}

impl Files {
    /// The same with another base's decoder.
    fn with_decoder(mut self, other: Self) -> Result<Self> {
        for files in [&self, &other] {
            if matches!(
                files.architecture(),
                Some(Architecture::San | Architecture::Cris)
            ) {
                return Err(ModelError::Weights {
                    path: files.weights.clone(),
                    message: "`TOWERS+DECODER` only works with CLIPSeg and BiomedCLIP bases; remove the `+`".into(),
                });
            }
        }
        self.tensors.retain(|name, _| !name.starts_with(DECODER));
        let mut decoder = other.tensors;
        decoder.retain(|name, _| name.starts_with(DECODER));
        if decoder.is_empty() {
            return Err(ModelError::Weights {
                path: other.weights,
                message: "it has no decoder; name a CLIPSeg after the `+`".into(),
            });
        }
        self.tensors.extend(decoder);
        self.decoder = other.config;
        Ok(self)
    }

    /// The network that the files describe.
    fn load(self, device: &Device) -> Result<Loaded<Network>> {
        match self.architecture() {
            Some(Architecture::ClipSeg) => Ok(clipseg::load(self, device)?.map(Network::ClipSeg)),
            Some(Architecture::BiomedClip) => {
                Ok(biomedclip::load(self, device)?.map(Network::ClipSeg))
            }
            Some(Architecture::San) => Ok(san::load(self, device)?.map(Network::San)),
            Some(Architecture::Cris) => Ok(cris::load(self, device)?.map(Network::Cris)),
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
