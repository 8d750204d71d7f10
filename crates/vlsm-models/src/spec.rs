//! What the folder of an architecture offers. `registry` lists the folders and chooses among them.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use serde_json::Value;

use crate::contract::SegmentationModel;
use crate::description::NetworkDescription;
use crate::error::Result;
use crate::files::{Files, Loaded};
use crate::methods::{BaseShape, MethodConfig, Profile, Tensors};
use crate::precision::Precision;
use crate::preprocess::Preprocessing;

/// The files of a base other than its weights and vocabulary: name and content.
pub(crate) type ConfigFiles = Vec<(&'static str, Value)>;

/// An architecture: how its bases are recognised, read, described and written, and how models are made from them.
pub(crate) trait ModelSpec {
    /// What a base's files describe.
    type Config: Clone;
    /// The network with its parameters.
    type Network: Module;
    /// The network with a method.
    type Model: SegmentationModel;

    /// Its name for users.
    const NAME: &'static str;
    /// What the names of the network's parameters start with in a [`Model`](Self::Model), and so in adapter files.
    const PREFIX: &'static str;
    /// The file of the weights in a base's folder.
    const WEIGHTS_FILE: &'static str = "model.safetensors";
    /// Whether `TOWERS+DECODER` can take towers or decoder from its bases.
    const COMPOSES: bool = false;
    /// The names of configurations that are part of this library.
    const PRESETS: &'static [&'static str];

    /// Whether a configuration file is one of this architecture; `config` is its JSON, null if it is malformed.
    fn describes(path: &Path, config: &Value) -> bool;

    /// Whether tensors without a configuration are a base of this architecture; `has` says whether any name has a
    /// beginning.
    fn owns(_has: &dyn Fn(&str) -> bool) -> bool {
        false
    }

    /// A configuration of [`PRESETS`](Self::PRESETS), and the preprocessing that belongs to it.
    fn preset(name: &str) -> Option<(Self::Config, Preprocessing)>;

    /// Parses a configuration file.
    ///
    /// # Errors
    /// Says what is wrong; names the field.
    fn parse(text: &str) -> std::result::Result<Self::Config, String>;

    /// The preprocessing of a base whose files do not describe it.
    fn preprocessing(config: &Self::Config) -> Preprocessing;

    /// The configuration files of a base.
    ///
    /// # Errors
    /// If the configuration cannot be serialised.
    fn config_files(config: &Self::Config, preprocessing: &Preprocessing) -> Result<ConfigFiles>;

    /// The size of the vocabulary that each base brings in a `tokenizer.json`; `None` if CLIP's is the default.
    fn vocabulary_size(_config: &Self::Config) -> Option<usize> {
        None
    }

    /// What methods need to know of a base, under a profile.
    fn shape(config: &Self::Config, profile: Profile) -> BaseShape;

    /// Every parameter by its name in the network, initialised by `seed`.
    fn random_weights(config: &Self::Config, seed: u64) -> Tensors;

    /// The configuration of a base into which parameters trained under a profile were merged.
    fn merged_config(config: Self::Config, _profile: Profile) -> Self::Config {
        config
    }

    /// The network of parameters by their names in it.
    ///
    /// # Errors
    /// If a tensor is missing, extra or of another shape; `path` is named.
    fn network(
        config: &Self::Config,
        tensors: Tensors,
        path: &Path,
        device: &Device,
    ) -> Result<Self::Network>;

    /// The base of files.
    ///
    /// # Errors
    /// If a file is malformed, or a tensor is missing, extra or of another shape.
    fn load(files: Files, device: &Device) -> Result<Loaded<Self::Network>>;

    /// The network's configuration.
    fn config(network: &Self::Network) -> &Self::Config;

    /// Parameters by their names in the network to the names and layouts of a base's file.
    fn to_file(tensors: Tensors, _config: &Self::Config) -> Tensors {
        tensors
    }

    /// Parameters by their names in the network to the state dict of the published code that a profile follows.
    fn published(tensors: Tensors, config: &Self::Config, _profile: Profile) -> Tensors {
        Self::to_file(tensors, config)
    }

    /// Tensors of a checkpoint of the published code by their names in the network, and the profile that the names show;
    /// `None` if adapter files are read without the base.
    ///
    /// # Errors
    /// Says which tensor is wrong.
    fn from_published(
        _tensors: Tensors,
        _config: &Self::Config,
    ) -> Option<std::result::Result<(Tensors, Profile), String>> {
        None
    }

    /// The network with what the method trains on it, initialised by `seed`.
    ///
    /// # Errors
    /// If the method does not go with the network.
    fn model(network: &Self::Network, method: MethodConfig, seed: u64) -> Result<Self::Model>;

    /// Puts the matrices of the towers' layers in another precision. False if the architecture does not have that.
    fn set_precision(_network: &mut Self::Network, _precision: Precision) -> bool {
        false
    }

    /// The part of the network that its files lack, so that it has random weights; `None` if they are complete.
    fn random_part(network: &Self::Network) -> Option<&'static str>;

    /// What there is to say about a network whose input has a side of `image_size` pixels.
    fn describe(network: &Self::Network, image_size: usize) -> NetworkDescription;

    /// The part of the network that a parameter belongs to, by its name in the network.
    fn part(name: &str) -> &'static str;
}
