//! CLIPSeg for the registry.

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::{ClipSeg, ClipSegConfig, ClipSegModel};
use crate::clip;
use crate::description::{NetworkDescription, joined, random, transformer};
use crate::error::Result;
use crate::files::{Files, Loaded, fill};
use crate::methods::{BaseShape, MethodConfig, Profile, Tensors};
use crate::precision::Precision;
use crate::preprocess::Preprocessing;
use crate::spec::{ConfigFiles, ModelSpec};

/// Input side of `CIDAS/clipseg-rd64-refined`, whose position embeddings are for 224 pixels.
const RD64_REFINED_SIZE: usize = 352;

/// CLIPSeg.
pub(crate) struct Spec;

impl ModelSpec for Spec {
    type Config = ClipSegConfig;
    type Network = ClipSeg;
    type Model = ClipSegModel;

    const NAME: &'static str = "CLIPSeg";
    const PREFIX: &'static str = "clipseg.";
    const COMPOSES: bool = true;
    const PRESETS: &'static [&'static str] = &["clipseg-rd64-refined", "tiny"];

    fn describes(_path: &Path, config: &Value) -> bool {
        matches!(config.get("model_type"), None | Some(Value::Null))
            || config["model_type"] == "clipseg"
    }

    fn preset(name: &str) -> Option<(ClipSegConfig, Preprocessing)> {
        let (config, size) = match name {
            "clipseg-rd64-refined" => (ClipSegConfig::rd64_refined(), RD64_REFINED_SIZE),
            "tiny" => (ClipSegConfig::tiny(), 168),
            _ => return None,
        };
        let preprocessing = Preprocessing {
            image_size: size,
            ..config.preprocessing()
        };
        Some((config, preprocessing))
    }

    fn parse(text: &str) -> std::result::Result<ClipSegConfig, String> {
        ClipSegConfig::parse(text)
    }

    fn preprocessing(config: &ClipSegConfig) -> Preprocessing {
        config.preprocessing()
    }

    fn config_files(config: &ClipSegConfig, preprocessing: &Preprocessing) -> Result<ConfigFiles> {
        Ok(preprocessing.with_config(config.to_json()?))
    }

    fn shape(config: &ClipSegConfig, profile: Profile) -> BaseShape {
        config.shape(profile)
    }

    fn random_weights(config: &ClipSegConfig, seed: u64) -> Tensors {
        super::random_weights(config, seed)
    }

    fn network(
        config: &ClipSegConfig,
        tensors: Tensors,
        path: &Path,
        device: &Device,
    ) -> Result<ClipSeg> {
        fill(config.init(device), tensors, path)
    }

    fn load(files: Files, device: &Device) -> Result<Loaded<ClipSeg>> {
        super::load(files, device)
    }

    fn config(network: &ClipSeg) -> &ClipSegConfig {
        &network.config
    }

    fn model(network: &ClipSeg, method: MethodConfig, seed: u64) -> Result<ClipSegModel> {
        ClipSegModel::new(network, method, seed)
    }

    fn set_precision(network: &mut ClipSeg, precision: Precision) -> bool {
        network.set_precision(precision);
        true
    }

    fn random_part(network: &ClipSeg) -> Option<&'static str> {
        network.config.fresh_decoder.then_some("decoder")
    }

    fn describe(network: &ClipSeg, image_size: usize) -> NetworkDescription {
        let config = &network.config;
        let (vision, taps) = (&config.vision_config, &config.extract_layers);
        let upsampling = if config.use_complex_transposed_convolution {
            "three convolutions (refined)"
        } else {
            "one transposed convolution"
        };
        let (text_facts, text) = NetworkDescription::text_tower(
            &config.text_config,
            config.text_config.max_position_embeddings,
            config.projection_dim,
        );
        let facts = json!({
            "patch_size": vision.patch_size,
            "taps": taps,
            "vision_layers": vision.num_hidden_layers,
            "vision_width": vision.hidden_size,
            "decoder_width": config.reduce_dim,
            "fresh_decoder": config.fresh_decoder,
            "upsampling": upsampling,
        });
        let tower = transformer(vision.num_hidden_layers, vision.hidden_size);
        let decoder = format!(
            "width {}, {upsampling}{}",
            config.reduce_dim,
            random(config.fresh_decoder)
        );
        NetworkDescription {
            output_size: config.output_size(image_size),
            facts: joined([facts, text_facts]),
            input: format!("patches of {}", vision.patch_size),
            vision: format!("{tower}, taps {taps:?}"),
            text,
            head: ("decoder", decoder),
        }
    }

    fn part(name: &str) -> &'static str {
        clip::part(name).unwrap_or("decoder")
    }
}
