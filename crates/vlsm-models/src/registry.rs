//! The architectures that this library knows: one table, and enums over all architectures for configuration, network and
//! model.
// Long because: each enum has a delegating method for each of the architectures' ones.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::Value;

use crate::clip::TokenBatch;
use crate::clipseg::{ClipSeg, ClipSegConfig, ClipSegModel};
use crate::contract::{HiddenStates, SegmentationModel, VocabularyMasks};
use crate::cris::{Cris, CrisConfig, CrisModel};
use crate::description::NetworkDescription;
use crate::error::Result;
use crate::files::{Files, Loaded, read_config, without_wrappers};
use crate::methods::{Adaptation, BaseShape, MethodConfig, Profile, Tensors};
use crate::pool::on_pool;
use crate::precision::Precision;
use crate::preprocess::Preprocessing;
use crate::san::{San, SanConfig, SanModel};
use crate::spec::{ConfigFiles, ModelSpec};

/// The table of architectures, with the module and the types of each. A base is read by the first architecture that
/// recognises its files.
macro_rules! with_table {
    ($then:ident $arguments:tt) => {
        $then! { $arguments
            /// BiomedCLIPSeg: CLIPSeg's decoder on BiomedCLIP's towers.
            BiomedClip: biomedclip, ClipSegConfig, ClipSeg, ClipSegModel;
            /// CLIPSeg.
            ClipSeg: clipseg, ClipSegConfig, ClipSeg, ClipSegModel;
            /// SAN.
            San: san, SanConfig, San, SanModel;
            /// CRIS.
            Cris: cris, CrisConfig, Cris, CrisModel;
        }
    };
}

/// Defines the enums of the table.
macro_rules! enums {
    (() $($(#[$doc:meta])* $variant:ident: $folder:ident, $config:ty, $network:ty, $model:ty;)+) => {
        /// An architecture.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Architecture { $($(#[$doc])* $variant),+ }

        impl Architecture {
            /// All architectures.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }

        /// The configuration of a base of any architecture.
        #[derive(Debug, Clone, PartialEq)]
        pub enum NetworkConfig { $($(#[$doc])* $variant($config)),+ }

        /// The network of a base, with its parameters and its configuration.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)]
        pub enum Network { $($(#[$doc])* $variant($network)),+ }

        /// A network with a method: a model of any architecture.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)]
        pub enum Model { $($(#[$doc])* $variant($model)),+ }
    };
}

/// The match arms of [`dispatch`].
macro_rules! arms {
    (
        ($enum:ident, $pattern:tt, $value:expr, $Spec:ident, $wrap:ident: $Target:ident => $body:expr)
        $($(#[$doc:meta])* $variant:ident: $folder:ident, $config:ty, $network:ty, $model:ty;)+
    ) => {
        match $value {
            $($enum::$variant $pattern => {
                #[allow(dead_code)]
                type $Spec = crate::$folder::Spec;
                #[allow(unused_variables)]
                let $wrap = $Target::$variant;
                $body
            })+
        }
    };
}

/// Matches a value of one of the enums: the pattern binds the variant's content, `Spec` is the architecture's
/// [`ModelSpec`], and `wrap`, if given, makes the same variant of the enum after the colon.
macro_rules! dispatch {
    ($enum:ident $pattern:tt = $value:expr, $Spec:ident, $wrap:ident: $Target:ident => $body:expr) => {
        with_table!(arms ($enum, $pattern, $value, $Spec, $wrap: $Target => $body))
    };
    ($enum:ident $pattern:tt = $value:expr, $Spec:ident => $body:expr) => {
        dispatch!($enum $pattern = $value, $Spec, wrap: $enum => $body)
    };
}

with_table!(enums());

impl Architecture {
    /// Its name for users.
    pub fn name(self) -> &'static str {
        dispatch!(Architecture {} = self, Spec => Spec::NAME)
    }

    /// Whether `TOWERS+DECODER` can take towers or decoder from its bases.
    pub(crate) fn composes(self) -> bool {
        dispatch!(Architecture {} = self, Spec => Spec::COMPOSES)
    }

    /// The architecture that a configuration file describes. A file that no architecture recognises goes to CLIPSeg's parser,
    /// which reports the error.
    pub(crate) fn of_config(path: &Path, text: &str) -> Self {
        let config: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let mut all = Self::ALL.iter().copied();
        let found = all.find(
            |architecture| dispatch!(Architecture {} = architecture, Spec => Spec::describes(path, &config)),
        );
        found.unwrap_or(Self::ClipSeg)
    }

    /// The architecture of weights without a configuration; `None` if it is unknown.
    pub(crate) fn of_tensors(tensors: &Tensors) -> Option<Self> {
        let has = |start: &str| {
            let mut names = tensors.keys();
            names.any(|name| without_wrappers(name).starts_with(start))
        };
        let mut all = Self::ALL.iter().copied();
        all.find(|architecture| dispatch!(Architecture {} = architecture, Spec => Spec::owns(&has)))
    }

    /// Loads a base from its files.
    pub(crate) fn load(self, files: Files, device: &Device) -> Result<Loaded<Network>> {
        dispatch!(Architecture {} = self, Spec, wrap: Network => Ok(Spec::load(files, device)?.map(wrap)))
    }

    fn parse(self, text: &str) -> std::result::Result<NetworkConfig, String> {
        dispatch!(Architecture {} = self, Spec, wrap: NetworkConfig => Spec::parse(text).map(wrap))
    }

    fn preset(self, name: &str) -> Option<(NetworkConfig, Preprocessing)> {
        dispatch!(Architecture {} = self, Spec, wrap: NetworkConfig => {
            let (config, preprocessing) = Spec::preset(name)?;
            Some((wrap(config), preprocessing))
        })
    }
}

/// The part of a base that a parameter of an adapter file belongs to; `None` if the parameter is not the base's.
pub fn part_of_base(name: &str) -> Option<&'static str> {
    Architecture::ALL.iter().find_map(|architecture| {
        dispatch!(Architecture {} = architecture, Spec => Some(Spec::part(name.strip_prefix(Spec::PREFIX)?)))
    })
}

impl NetworkConfig {
    /// Reads a `config.json`, or a BiomedCLIP's `open_clip_config.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, is of an unknown architecture, or describes a model that cannot be built;
    /// names the field.
    pub fn read(path: &Path) -> Result<Self> {
        read_config(path, |text| Architecture::of_config(path, text).parse(text))
    }

    /// The names of the builtin configurations.
    pub fn presets() -> Vec<&'static str> {
        let all = Architecture::ALL.iter();
        let presets = all.flat_map(
            |architecture| dispatch!(Architecture {} = architecture, Spec => Spec::PRESETS.iter().copied()),
        );
        presets.collect()
    }

    /// A configuration of [`presets`](Self::presets) with its preprocessing; `None` if no configuration has that name.
    pub fn preset(name: &str) -> Option<(Self, Preprocessing)> {
        let mut all = Architecture::ALL.iter();
        all.find_map(|architecture| architecture.preset(name))
    }

    /// The default preprocessing, for a base whose files do not describe it.
    pub fn preprocessing(&self) -> Preprocessing {
        dispatch!(NetworkConfig (config) = self, Spec => Spec::preprocessing(config))
    }

    /// File name of the weights in a base's folder.
    pub fn weights_file(&self) -> &'static str {
        dispatch!(NetworkConfig (_config) = self, Spec => Spec::WEIGHTS_FILE)
    }

    /// The configuration files of a base: name and content.
    ///
    /// # Errors
    /// If the configuration cannot be serialised.
    pub(crate) fn config_files(&self, preprocessing: &Preprocessing) -> Result<ConfigFiles> {
        dispatch!(NetworkConfig (config) = self, Spec => Spec::config_files(config, preprocessing))
    }

    /// Size of the vocabulary if every base has its own in a `tokenizer.json`; `None` if CLIP's is the default.
    pub(crate) fn vocabulary_size(&self) -> Option<usize> {
        dispatch!(NetworkConfig (config) = self, Spec => Spec::vocabulary_size(config))
    }

    /// What methods need to know about a base, under a profile.
    pub fn shape(&self, profile: Profile) -> BaseShape {
        dispatch!(NetworkConfig (config) = self, Spec => Spec::shape(config, profile))
    }

    /// Every parameter of a base by its name in the network, initialised by `seed`.
    pub(crate) fn random_weights(&self, seed: u64) -> Tensors {
        dispatch!(NetworkConfig (config) = self, Spec => Spec::random_weights(config, seed))
    }

    /// The configuration of a base into which parameters trained under a profile were merged.
    pub(crate) fn merged(self, profile: Profile) -> Self {
        dispatch!(NetworkConfig (config) = self, Spec, wrap: NetworkConfig => wrap(Spec::merged_config(config, profile)))
    }

    /// Builds the network from parameters, keyed by their names in it; errors name `path`.
    pub(crate) fn network(
        &self,
        tensors: Tensors,
        path: &Path,
        device: &Device,
    ) -> Result<Network> {
        dispatch!(NetworkConfig (config) = self, Spec, wrap: Network => {
            Ok(wrap(Spec::network(config, tensors, path, device)?))
        })
    }

    /// Converts parameters from the network's names to the names and layouts of a base's file.
    pub fn to_file(&self, tensors: Tensors) -> Tensors {
        dispatch!(NetworkConfig (config) = self, Spec => Spec::to_file(tensors, config))
    }

    /// Converts parameters from the network's names to the state dict of the published code that a profile follows.
    pub(crate) fn published(&self, tensors: Tensors, profile: Profile) -> Tensors {
        dispatch!(NetworkConfig (config) = self, Spec => Spec::published(tensors, config, profile))
    }

    /// See [`ModelSpec::from_published`].
    pub(crate) fn of_published(
        &self,
        tensors: Tensors,
    ) -> Option<std::result::Result<(Tensors, Profile), String>> {
        dispatch!(NetworkConfig (config) = self, Spec => Spec::from_published(tensors, config))
    }
}

impl Network {
    /// The architecture.
    pub fn architecture(&self) -> Architecture {
        dispatch!(Network (_network) = self, Spec, wrap: Architecture => wrap)
    }

    /// The configuration.
    pub fn config(&self) -> NetworkConfig {
        dispatch!(Network (network) = self, Spec, wrap: NetworkConfig => wrap(Spec::config(network).clone()))
    }

    /// Prefix of the network's parameter names in a [`Model`] and in adapter files.
    pub fn prefix(&self) -> &'static str {
        dispatch!(Network (_network) = self, Spec => Spec::PREFIX)
    }

    /// The part that the base's files lack, so that it has random weights; `None` if they are complete.
    pub fn random_part(&self) -> Option<&'static str> {
        dispatch!(Network (network) = self, Spec => Spec::random_part(network))
    }

    /// See [`ModelSpec::set_precision`].
    pub(crate) fn set_precision(&mut self, precision: Precision) -> bool {
        dispatch!(Network (network) = self, Spec => Spec::set_precision(network, precision))
    }

    /// Describes the network for inputs of `image_size` pixels a side.
    pub(crate) fn describe(&self, image_size: usize) -> NetworkDescription {
        dispatch!(Network (network) = self, Spec => Spec::describe(network, image_size))
    }

    /// The part of the network that a parameter belongs to, by its name in the network.
    pub(crate) fn part(&self, name: &str) -> &'static str {
        dispatch!(Network (_network) = self, Spec => Spec::part(name))
    }
}

impl Model {
    /// A network with a method, whose parameters are initialised by `seed`.
    ///
    /// # Errors
    /// If the method does not fit the network.
    pub fn of_network(network: &Network, method: MethodConfig, seed: u64) -> Result<Self> {
        dispatch!(Network (network) = network, Spec, wrap: Model => Ok(wrap(Spec::model(network, method, seed)?)))
    }

    /// The same model with activation checkpointing (Chen et al. 2016) switched on or off. With it, only the inputs of the
    /// transformer sublayers are saved for the backward pass, which computes their activations again: less memory, slower,
    /// the same numbers. Off in a new model.
    pub fn with_recompute(mut self, recompute: bool) -> Self {
        dispatch!(Model (model) = &mut self, Spec => model.set_recompute(recompute));
        self
    }
}

impl SegmentationModel for Model {
    fn method(&self) -> &MethodConfig {
        dispatch!(Model (model) = self, Spec => model.method())
    }

    fn adaptation(&self) -> &dyn Adaptation {
        dispatch!(Model (model) = self, Spec => model.adaptation())
    }

    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates {
        on_pool(|| dispatch!(Model (model) = self, Spec => model.vision_states(pixels)))
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        dispatch!(Model (model) = self, Spec => model.frozen_vision(image_size))
    }

    fn wanted_vision_states(&self) -> String {
        dispatch!(Model (model) = self, Spec => model.wanted_vision_states())
    }

    fn features(&self, states: HiddenStates) -> Result<HiddenStates> {
        on_pool(|| dispatch!(Model (model) = self, Spec => model.features(states)))
    }

    fn context_length(&self) -> usize {
        dispatch!(Model (model) = self, Spec => model.context_length())
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        dispatch!(Model (model) = self, Spec => model.tokens(prompts))
    }

    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates {
        on_pool(|| dispatch!(Model (model) = self, Spec => model.text_states(tokens)))
    }

    fn frozen_text(&self) -> bool {
        dispatch!(Model (model) = self, Spec => model.frozen_text())
    }

    fn wanted_text_states(&self) -> String {
        dispatch!(Model (model) = self, Spec => model.wanted_text_states())
    }

    fn condition_text(&self, states: HiddenStates) -> Result<HiddenStates> {
        on_pool(|| dispatch!(Model (model) = self, Spec => model.condition_text(states)))
    }

    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>> {
        on_pool(|| dispatch!(Model (model) = self, Spec => model.decode(features, text)))
    }

    fn templates(&self) -> &'static [&'static str] {
        dispatch!(Model (model) = self, Spec => model.templates())
    }

    fn vocabulary_masks(
        &self,
        features: &[Tensor<3>],
        classes: HiddenStates,
    ) -> Result<VocabularyMasks> {
        on_pool(
            || dispatch!(Model (model) = self, Spec => model.vocabulary_masks(features, classes)),
        )
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        dispatch!(Model (model) = self, Spec => model.output_size(image_size))
    }

    fn trains(&self, name: &str) -> bool {
        dispatch!(Model (model) = self, Spec => model.trains(name))
    }

    fn saves(&self, name: &str) -> bool {
        dispatch!(Model (model) = self, Spec => model.saves(name))
    }

    fn uses_batch_statistics(&self) -> bool {
        dispatch!(Model (model) = self, Spec => model.uses_batch_statistics())
    }

    fn begin_step(self, seed: u64) -> Self {
        dispatch!(Model (model) = self, Spec, wrap: Model => wrap(model.begin_step(seed)))
    }

    fn begin_part(self, first: usize) -> Self {
        dispatch!(Model (model) = self, Spec, wrap: Model => wrap(model.begin_part(first)))
    }

    fn merged(self) -> Self {
        dispatch!(Model (model) = self, Spec, wrap: Model => wrap(model.merged()))
    }

    fn end_step(self) -> Self {
        dispatch!(Model (model) = self, Spec, wrap: Model => wrap(model.end_step()))
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
