//! The configuration of a base of any architecture.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::architecture::Architecture;
use crate::base::Network;
use crate::config::{ClipSegConfig, read_file};
use crate::cris::{self, CrisConfig};
use crate::error::Result;
use crate::init;
use crate::method::Profile;
use crate::preprocess::Preprocessing;
use crate::san::{self, SanConfig};
use crate::tensor_file::HostTensor;

/// The configuration of a base, and the files that the base is laid down in.
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkConfig {
    /// Of a CLIPSeg or a BiomedCLIPSeg.
    ClipSeg(ClipSegConfig),
    /// Of a SAN.
    San(SanConfig),
    /// Of a CRIS.
    Cris(CrisConfig),
}

impl NetworkConfig {
    /// Reads a `config.json`, or a BiomedCLIP's `open_clip_config.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, is of no architecture known, or describes a model that cannot be built; the
    /// field is named.
    pub fn read(path: &Path) -> Result<Self> {
        read_file(path, |text| match Architecture::of_config(path, text) {
            Architecture::ClipSeg | Architecture::BiomedClip => {
                ClipSegConfig::parse(text).map(Self::ClipSeg)
            }
            Architecture::San => SanConfig::parse(text).map(Self::San),
            Architecture::Cris => CrisConfig::parse(text).map(Self::Cris),
        })
    }

    /// What a base takes that does not say otherwise.
    pub fn preprocessing(&self) -> Preprocessing {
        match self {
            Self::ClipSeg(config) => Preprocessing::of(config),
            Self::San(config) => Preprocessing::clip(config.side_config.image_size),
            Self::Cris(config) => Preprocessing::clip(config.image_size),
        }
    }

    /// Every parameter of a base, by its name in the module, initialised by `seed`.
    pub fn random_weights(&self, seed: u64) -> BTreeMap<String, HostTensor> {
        match self {
            Self::ClipSeg(config) => init::base(config, seed),
            Self::San(config) => san::random_weights(config, seed),
            Self::Cris(config) => cris::random_weights(config, seed),
        }
    }

    /// The files that a base is laid down in: the name of its weights, and those of the others with what stands in them. A
    /// vocabulary, if it has one of its own, comes besides.
    pub fn files(
        &self,
        preprocessing: &Preprocessing,
    ) -> (&'static str, Vec<(&'static str, Value)>) {
        let config = match self {
            Self::ClipSeg(config) => return config.files(preprocessing),
            Self::San(config) => config.to_json(),
            Self::Cris(config) => config.to_json(),
        };
        let files = vec![
            ("config.json", config),
            ("preprocessor_config.json", preprocessing.to_json()),
        ];
        ("model.safetensors", files)
    }

    /// All parameters of a base under the names that they have in its files.
    pub fn in_files(&self, tensors: BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
        match self {
            Self::ClipSeg(config) => config.in_files(tensors),
            Self::San(config) => san::to_published(tensors, config, Profile::Default),
            Self::Cris(_) => cris::published::to_published(tensors),
        }
    }

    /// Size of a vocabulary that must lie beside the weights; `None` where it is CLIP's.
    pub fn own_vocabulary(&self) -> Option<usize> {
        match self {
            Self::ClipSeg(config) if config.text_config.bert.is_some() => {
                Some(config.text_config.vocab_size)
            }
            _ => None,
        }
    }
}

impl Network {
    /// The configuration.
    pub fn config(&self) -> NetworkConfig {
        match self {
            Self::ClipSeg(clipseg) => NetworkConfig::ClipSeg(clipseg.config.clone()),
            Self::San(san) => NetworkConfig::San(san.config().clone()),
            Self::Cris(cris) => NetworkConfig::Cris(cris.config().clone()),
        }
    }

    /// What the names of the network's parameters start with in a [`Model`](crate::Model), and so in adapter files.
    pub fn prefix(&self) -> &'static str {
        match self {
            Self::ClipSeg(_) => "clipseg.",
            Self::San(_) => "san.",
            Self::Cris(_) => "cris.",
        }
    }
}
