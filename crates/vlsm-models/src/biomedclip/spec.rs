//! BiomedCLIP and BiomedCLIPSeg for the registry.

use std::path::Path;

use burn::tensor::Device;
use serde_json::Value;

use super::{biomedclipseg, names, parse, to_json};
use crate::clipseg::{self, ClipSeg, ClipSegConfig, ClipSegModel};
use crate::description::NetworkDescription;
use crate::error::Result;
use crate::files::{Files, Loaded};
use crate::hub::OPEN_CLIP_CONFIG;
use crate::methods::{BaseShape, MethodConfig, Profile, Tensors};
use crate::precision::Precision;
use crate::preprocess::Preprocessing;
use crate::spec::{ConfigFiles, ModelSpec};

/// BiomedCLIPSeg: a CLIPSeg in open_clip's files, with BiomedCLIP's towers.
pub(crate) struct Spec;

impl ModelSpec for Spec {
    type Config = ClipSegConfig;
    type Network = ClipSeg;
    type Model = ClipSegModel;

    const NAME: &'static str = "BiomedCLIPSeg";
    const PREFIX: &'static str = clipseg::Spec::PREFIX;
    const WEIGHTS_FILE: &'static str = "open_clip_model.safetensors";
    const COMPOSES: bool = true;
    const PRESETS: &'static [&'static str] = &["biomedclipseg"];

    fn describes(path: &Path, config: &Value) -> bool {
        path.ends_with(OPEN_CLIP_CONFIG) || config.get("model_cfg").is_some()
    }

    fn preset(name: &str) -> Option<(ClipSegConfig, Preprocessing)> {
        let config = (name == "biomedclipseg").then(biomedclipseg)?;
        let preprocessing = config.preprocessing();
        Some((config, preprocessing))
    }

    fn parse(text: &str) -> std::result::Result<ClipSegConfig, String> {
        parse(text, None)
    }

    fn preprocessing(config: &ClipSegConfig) -> Preprocessing {
        config.preprocessing()
    }

    fn config_files(config: &ClipSegConfig, preprocessing: &Preprocessing) -> Result<ConfigFiles> {
        Ok(vec![(OPEN_CLIP_CONFIG, to_json(config, preprocessing)?)])
    }

    fn vocabulary_size(config: &ClipSegConfig) -> Option<usize> {
        Some(config.text_config.vocab_size)
    }

    fn shape(config: &ClipSegConfig, profile: Profile) -> BaseShape {
        config.shape(profile)
    }

    fn random_weights(config: &ClipSegConfig, seed: u64) -> Tensors {
        clipseg::random_weights(config, seed)
    }

    /// The taps of the profile that it was trained under are the base's own from now on.
    fn merged_config(mut config: ClipSegConfig, profile: Profile) -> ClipSegConfig {
        if let Some(published) = config.published_taps.take()
            && profile == Profile::Paper
        {
            config.extract_layers = published;
        }
        config.fresh_decoder = false;
        config
    }

    fn network(
        config: &ClipSegConfig,
        tensors: Tensors,
        path: &Path,
        device: &Device,
    ) -> Result<ClipSeg> {
        clipseg::Spec::network(config, tensors, path, device)
    }

    fn load(files: Files, device: &Device) -> Result<Loaded<ClipSeg>> {
        super::load(files, device)
    }

    fn config(network: &ClipSeg) -> &ClipSegConfig {
        &network.config
    }

    fn to_file(tensors: Tensors, _config: &ClipSegConfig) -> Tensors {
        names::to_file(tensors)
    }

    /// MedVLSM has open_clip's model as `biomedclip`, next to the decoder.
    fn published(tensors: Tensors, _config: &ClipSegConfig, _profile: Profile) -> Tensors {
        let tensors = names::to_file(tensors).into_iter();
        let name = |name: String| match name.starts_with("decoder.") {
            true => name,
            false => format!("biomedclip.{name}"),
        };
        tensors.map(|(key, tensor)| (name(key), tensor)).collect()
    }

    fn model(network: &ClipSeg, method: MethodConfig, seed: u64) -> Result<ClipSegModel> {
        ClipSegModel::new(network, method, seed)
    }

    fn set_precision(network: &mut ClipSeg, precision: Precision) -> bool {
        network.set_precision(precision);
        true
    }

    fn random_part(network: &ClipSeg) -> Option<&'static str> {
        clipseg::Spec::random_part(network)
    }

    fn describe(network: &ClipSeg, image_size: usize) -> NetworkDescription {
        clipseg::Spec::describe(network, image_size)
    }

    fn part(name: &str) -> &'static str {
        clipseg::Spec::part(name)
    }
}
