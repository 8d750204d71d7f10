//! CRIS for the registry.

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::{Cris, CrisConfig, CrisModel, names};
use crate::description::{NetworkDescription, joined, random, transformer};
use crate::error::Result;
use crate::files::{Files, Loaded, fill};
use crate::methods::{BaseShape, MethodConfig, Profile, Tensors};
use crate::preprocess::Preprocessing;
use crate::spec::{ConfigFiles, ModelSpec};

/// CRIS, or a plain CLIP with a ResNet, which gets a random neck, decoder and projector.
pub(crate) struct Spec;

impl ModelSpec for Spec {
    type Config = CrisConfig;
    type Network = Cris;
    type Model = CrisModel;

    const NAME: &'static str = "CRIS";
    const PREFIX: &'static str = "cris.";
    const PRESETS: &'static [&'static str] = &["cris"];

    fn describes(_path: &Path, config: &Value) -> bool {
        config["model_type"] == "cris"
    }

    fn owns(has: &dyn Fn(&str) -> bool) -> bool {
        ["neck.", "visual.layer1."].into_iter().any(has)
    }

    fn preset(name: &str) -> Option<(CrisConfig, Preprocessing)> {
        let config = (name == "cris").then(CrisConfig::default)?;
        let preprocessing = Self::preprocessing(&config);
        Some((config, preprocessing))
    }

    fn parse(text: &str) -> std::result::Result<CrisConfig, String> {
        CrisConfig::parse(text)
    }

    fn preprocessing(config: &CrisConfig) -> Preprocessing {
        Preprocessing::clip(config.image_size)
    }

    fn config_files(config: &CrisConfig, preprocessing: &Preprocessing) -> Result<ConfigFiles> {
        Ok(preprocessing.with_config(config.to_json()?))
    }

    fn shape(config: &CrisConfig, _profile: Profile) -> BaseShape {
        config.shape()
    }

    fn random_weights(config: &CrisConfig, seed: u64) -> Tensors {
        super::random_weights(config, seed)
    }

    fn network(
        config: &CrisConfig,
        tensors: Tensors,
        path: &Path,
        device: &Device,
    ) -> Result<Cris> {
        fill(config.init(device), tensors, path)
    }

    fn load(files: Files, device: &Device) -> Result<Loaded<Cris>> {
        super::load(files, device)
    }

    fn config(network: &Cris) -> &CrisConfig {
        network.config()
    }

    fn to_file(tensors: Tensors, _config: &CrisConfig) -> Tensors {
        names::to_file(tensors)
    }

    fn from_published(
        tensors: Tensors,
        _config: &CrisConfig,
    ) -> Option<std::result::Result<(Tensors, Profile), String>> {
        Some(names::from_file(tensors).map(|tensors| (tensors, Profile::Paper)))
    }

    fn model(network: &Cris, method: MethodConfig, seed: u64) -> Result<CrisModel> {
        CrisModel::new(network, method, seed)
    }

    fn random_part(network: &Cris) -> Option<&'static str> {
        network.is_fresh().then_some("neck and decoder")
    }

    fn describe(network: &Cris, image_size: usize) -> NetworkDescription {
        let config = network.config();
        let vision = &config.vision_config;
        let [_, width, _] = config.fpn_out;
        let (text_facts, text) = NetworkDescription::text_tower(
            &config.text_config,
            config.context_length,
            config.projection_dim,
        );
        let facts = json!({
            "vision_blocks": vision.layers,
            "vision_width": vision.width,
            "decoder_layers": config.decoder_layers,
            "decoder_width": width,
            "fresh_decoder": network.is_fresh(),
        });
        let tower = transformer(config.decoder_layers, width);
        NetworkDescription {
            output_size: image_size,
            facts: joined([facts, text_facts]),
            input: "any multiple of 32".into(),
            vision: format!("ResNet, blocks {:?}, width {}", vision.layers, vision.width),
            text,
            head: ("decoder", format!("{tower}{}", random(network.is_fresh()))),
        }
    }

    fn part(name: &str) -> &'static str {
        let parts = [
            ("backbone.visual.", "vision tower"),
            ("backbone.text_model.", "text tower"),
            ("backbone.", "projections"),
            ("neck.", "neck"),
            ("proj.", "projector"),
        ];
        let mut parts = parts.into_iter();
        let part = parts.find(|(start, _)| name.starts_with(start));
        part.map_or("decoder", |(_, part)| part)
    }
}
