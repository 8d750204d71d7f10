//! SAN for the registry.

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::{San, SanConfig, SanModel, names};
use crate::clip;
use crate::description::{NetworkDescription, joined, random, transformer};
use crate::error::Result;
use crate::files::{Files, Loaded, fill};
use crate::methods::{BaseShape, MethodConfig, Profile, Tensors};
use crate::preprocess::Preprocessing;
use crate::spec::{ConfigFiles, ModelSpec};

/// SAN, or a plain CLIP with a vision transformer, which gets a random side network.
pub(crate) struct Spec;

impl ModelSpec for Spec {
    type Config = SanConfig;
    type Network = San;
    type Model = SanModel;

    const NAME: &'static str = "SAN";
    const PREFIX: &'static str = "san.";
    const PRESETS: &'static [&'static str] = &["san"];

    fn describes(_path: &Path, config: &Value) -> bool {
        ["san", "clip"]
            .iter()
            .any(|kind| config["model_type"] == *kind)
    }

    fn owns(has: &dyn Fn(&str) -> bool) -> bool {
        let parts = [
            names::SIDE,
            "visual.transformer.resblocks.",
            "vision_model.encoder.",
        ];
        parts.into_iter().any(has)
    }

    fn preset(name: &str) -> Option<(SanConfig, Preprocessing)> {
        let config = (name == "san").then(SanConfig::default)?;
        let preprocessing = Self::preprocessing(&config);
        Some((config, preprocessing))
    }

    fn parse(text: &str) -> std::result::Result<SanConfig, String> {
        SanConfig::parse(text)
    }

    fn preprocessing(config: &SanConfig) -> Preprocessing {
        Preprocessing::clip(config.side_config.image_size)
    }

    fn config_files(config: &SanConfig, preprocessing: &Preprocessing) -> Result<ConfigFiles> {
        Ok(preprocessing.with_config(config.to_json()?))
    }

    fn shape(config: &SanConfig, profile: Profile) -> BaseShape {
        config.shape(profile)
    }

    fn random_weights(config: &SanConfig, seed: u64) -> Tensors {
        super::random_weights(config, seed)
    }

    fn network(config: &SanConfig, tensors: Tensors, path: &Path, device: &Device) -> Result<San> {
        let san = fill(config.init(device), tensors, path)?;
        Ok(San {
            fresh: false,
            ..san
        })
    }

    fn load(files: Files, device: &Device) -> Result<Loaded<San>> {
        super::load(files, device)
    }

    fn config(network: &San) -> &SanConfig {
        network.config()
    }

    fn to_file(tensors: Tensors, config: &SanConfig) -> Tensors {
        names::to_file(tensors, config, Profile::Default)
    }

    fn published(tensors: Tensors, config: &SanConfig, profile: Profile) -> Tensors {
        names::to_file(tensors, config, profile)
    }

    fn from_published(
        tensors: Tensors,
        config: &SanConfig,
    ) -> Option<std::result::Result<(Tensors, Profile), String>> {
        let profile = names::profile(&tensors);
        Some(Ok((names::from_file(tensors, config), profile)))
    }

    fn model(network: &San, method: MethodConfig, seed: u64) -> Result<SanModel> {
        SanModel::new(network, method, seed)
    }

    fn random_part(network: &San) -> Option<&'static str> {
        network.is_fresh().then_some("side network")
    }

    fn describe(network: &San, image_size: usize) -> NetworkDescription {
        let config = network.config();
        let (vision, side) = (&config.vision_config, &config.side_config);
        let (text_facts, text) = NetworkDescription::text_tower(
            &config.text_config,
            config.text_config.max_position_embeddings,
            config.projection_dim,
        );
        let facts = json!({
            "patch_size": vision.patch_size,
            "vision_layers": vision.num_hidden_layers,
            "vision_width": vision.hidden_size,
            "side_layers": side.num_hidden_layers,
            "side_width": side.hidden_size,
            "queries": side.num_queries,
            "fresh_side_network": network.is_fresh(),
        });
        let tower = transformer(side.num_hidden_layers, side.hidden_size);
        let head = format!(
            "{tower}, {} queries{}",
            side.num_queries,
            random(network.is_fresh())
        );
        NetworkDescription {
            output_size: image_size,
            facts: joined([facts, text_facts]),
            input: format!("patches of {}", vision.patch_size),
            vision: transformer(vision.num_hidden_layers, vision.hidden_size),
            text,
            head: ("side network", head),
        }
    }

    fn part(name: &str) -> &'static str {
        match clip::part(name) {
            Some(part) => part,
            None if name == "bg_embed" => "background",
            None => "side network",
        }
    }
}
