//! The architectures that this library knows: which files belong to which, and one enum over all of them for each of
//! configuration, network and model.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use serde_json::Value;

use crate::biomedclip;
use crate::clip::TokenBatch;
use crate::clipseg::{self, ClipSeg, ClipSegConfig, ClipSegModel};
use crate::contract::{HiddenStates, SegmentationModel};
use crate::cris::{self, Cris, CrisConfig, CrisModel};
use crate::error::Result;
use crate::files::read_config;
use crate::hub::OPEN_CLIP_CONFIG;
use crate::methods::{BaseShape, MethodConfig, Profile};
use crate::preprocess::Preprocessing;
use crate::san::{self, San, SanConfig, SanModel};
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
        read_config(path, |text| match Architecture::of_config(path, text) {
            Architecture::ClipSeg => ClipSegConfig::parse(text).map(Self::ClipSeg),
            Architecture::BiomedClip => biomedclip::parse(text, None).map(Self::ClipSeg),
            Architecture::San => SanConfig::parse(text).map(Self::San),
            Architecture::Cris => CrisConfig::parse(text).map(Self::Cris),
        })
    }

    /// What a base takes that does not say otherwise.
    pub fn preprocessing(&self) -> Preprocessing {
        match self {
            Self::ClipSeg(config) => config.preprocessing(),
            Self::San(config) => Preprocessing::clip(config.side_config.image_size),
            Self::Cris(config) => Preprocessing::clip(config.image_size),
        }
    }

    /// The base's shape for methods, under a profile.
    pub fn shape(&self, profile: Profile) -> BaseShape {
        match self {
            Self::ClipSeg(config) => config.shape(profile),
            Self::San(config) => config.shape(profile),
            Self::Cris(config) => config.shape(),
        }
    }

    /// Every parameter of a base, by its name in the module, initialised by `seed`.
    pub fn random_weights(&self, seed: u64) -> BTreeMap<String, HostTensor> {
        match self {
            Self::ClipSeg(config) => clipseg::random_weights(config, seed),
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
            Self::ClipSeg(config) if config.text_config.bert.is_some() => {
                let config = biomedclip::to_json(config, preprocessing);
                return (
                    "open_clip_model.safetensors",
                    vec![(OPEN_CLIP_CONFIG, config)],
                );
            }
            Self::ClipSeg(config) => config.to_json(),
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
            Self::ClipSeg(config) if config.text_config.bert.is_some() => {
                biomedclip::names::to_file(tensors)
            }
            Self::ClipSeg(_) => tensors,
            Self::San(config) => san::names::to_file(tensors, config, Profile::Default),
            Self::Cris(_) => cris::names::to_file(tensors),
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

/// A base with what a method puts on it: a model of any architecture.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Model {
    /// CLIPSeg and what differs from it in its towers alone.
    ClipSeg(ClipSegModel),
    /// SAN.
    San(SanModel),
    /// CRIS.
    Cris(CrisModel),
}

/// A call of whichever model it is.
macro_rules! of_each {
    ($model:expr, $one:ident => $call:expr) => {
        match $model {
            Model::ClipSeg($one) => $call,
            Model::San($one) => $call,
            Model::Cris($one) => $call,
        }
    };
}

impl Model {
    /// A network with what the method trains on it, freshly initialised by `seed`.
    ///
    /// # Errors
    /// If the method does not go with the network.
    pub fn of_network(network: &Network, method: MethodConfig, seed: u64) -> Result<Self> {
        Ok(match network {
            Network::ClipSeg(clipseg) => Self::ClipSeg(ClipSegModel::new(clipseg, method, seed)?),
            Network::San(san) => Self::San(SanModel::new(san, method, seed)?),
            Network::Cris(cris) => Self::Cris(CrisModel::new(cris, method, seed)?),
        })
    }

    /// The same model, which saves only the inputs of its transformer sublayers for the backward pass and computes their
    /// activations again there, if `recompute` (activation checkpointing, Chen et al. 2016): less memory, slower, the same
    /// numbers. Off in a new model.
    pub fn with_recompute(mut self, recompute: bool) -> Self {
        of_each!(&mut self, model => model.set_recompute(recompute));
        self
    }
}

impl SegmentationModel for Model {
    fn method(&self) -> &MethodConfig {
        of_each!(self, model => model.method())
    }

    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates {
        of_each!(self, model => model.vision_states(pixels))
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        of_each!(self, model => model.frozen_vision(image_size))
    }

    fn features(&self, states: HiddenStates) -> Result<HiddenStates> {
        of_each!(self, model => model.features(states))
    }

    fn context_length(&self) -> usize {
        of_each!(self, model => model.context_length())
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        of_each!(self, model => model.tokens(prompts))
    }

    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates {
        of_each!(self, model => model.text_states(tokens))
    }

    fn frozen_text(&self) -> bool {
        of_each!(self, model => model.frozen_text())
    }

    fn condition_text(&self, states: HiddenStates) -> Result<HiddenStates> {
        of_each!(self, model => model.condition_text(states))
    }

    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>> {
        of_each!(self, model => model.decode(features, text))
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        of_each!(self, model => model.output_size(image_size))
    }

    fn trains(&self, name: &str) -> bool {
        of_each!(self, model => model.trains(name))
    }

    fn saves(&self, name: &str) -> bool {
        of_each!(self, model => model.saves(name))
    }

    fn uses_batch_statistics(&self) -> bool {
        of_each!(self, model => model.uses_batch_statistics())
    }

    fn begin_step(self, seed: u64) -> Self {
        match self {
            Self::ClipSeg(model) => Self::ClipSeg(model.begin_step(seed)),
            Self::San(model) => Self::San(model.begin_step(seed)),
            Self::Cris(model) => Self::Cris(model.begin_step(seed)),
        }
    }

    fn end_step(self) -> Self {
        match self {
            Self::ClipSeg(model) => Self::ClipSeg(model.end_step()),
            Self::San(model) => Self::San(model.end_step()),
            Self::Cris(model) => Self::Cris(model.end_step()),
        }
    }
}

/// An architecture, as far as it decides who reads the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// CLIPSeg, in Transformers' format.
    ClipSeg,
    /// BiomedCLIP or BiomedCLIPSeg, in open_clip's format.
    BiomedClip,
    /// SAN, or a plain CLIP with a vision transformer.
    San,
    /// CRIS, or a plain CLIP with a ResNet.
    Cris,
}

/// What wrappers in training put before a name: several processes, Lightning, detectron2.
const WRAPPERS: [&str; 3] = ["module.", "net.", "model."];

impl Architecture {
    /// That of a description, by its name and its `model_type`; where nothing is said it is CLIPSeg's.
    pub(crate) fn of_config(path: &Path, text: &str) -> Self {
        if path.ends_with(OPEN_CLIP_CONFIG) {
            return Self::BiomedClip;
        }
        // Invalid JSON is reported by the parser.
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        if value.get("model_cfg").is_some() {
            return Self::BiomedClip;
        }
        match value.get("model_type").and_then(|kind| kind.as_str()) {
            Some("san" | "clip") => Self::San,
            Some("cris") => Self::Cris,
            _ => Self::ClipSeg,
        }
    }

    /// That of a file of weights alone, by the names of its tensors.
    pub(crate) fn of_tensors(tensors: &BTreeMap<String, HostTensor>) -> Option<Self> {
        let has = |start: &str| {
            tensors
                .keys()
                .any(|name| unwrapped(name).starts_with(start))
        };
        let clip = ["visual.transformer.resblocks.", "vision_model.encoder."];
        if has("side_adapter_network.") || clip.into_iter().any(has) {
            return Some(Self::San);
        }
        (has("neck.") || has("visual.layer1.")).then_some(Self::Cris)
    }
}

/// A name without what wrappers put before it.
fn unwrapped(mut name: &str) -> &str {
    while let Some(rest) = WRAPPERS.iter().find_map(|start| name.strip_prefix(start)) {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tensors_tell() {
        let of = |name: &str| {
            let (shape, data) = (vec![0], Vec::new());
            let tensors = BTreeMap::from([(name.to_owned(), HostTensor { shape, data })]);
            Architecture::of_tensors(&tensors)
        };
        for name in [
            "model.side_adapter_network.query_embed",
            "net.side_adapter_network.query_embed",
            "module.side_adapter_network.query_embed",
            "visual.transformer.resblocks.0.ln_1.bias",
            "vision_model.encoder.layers.0.layer_norm1.bias",
        ] {
            assert_eq!(of(name), Some(Architecture::San), "{name}");
        }
        for name in [
            "neck.txt_proj.0.weight",
            "module.neck.txt_proj.0.weight",
            "net.neck.txt_proj.0.weight",
            "visual.layer1.0.conv1.weight",
        ] {
            assert_eq!(of(name), Some(Architecture::Cris), "{name}");
        }
        for name in [
            "clip.vision_model.encoder.layers.0.layer_norm1.bias",
            "visual.trunk.blocks.0.norm1.bias",
            "cris.neck.txt_proj.0.weight",
            "san.side_adapter_network.query_embed",
            "weight",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
