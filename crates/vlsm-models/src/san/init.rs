//! Random weights.

use std::collections::BTreeMap;

use burn::tensor::Device;
use rand::distr::Distribution;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::SanConfig;
use crate::config::ClipSegConfig;
use crate::init;
use crate::tensor_file::HostTensor;
use crate::weights::for_each_parameter;

/// Every parameter of a SAN, by its name in the module: CLIP's by Transformers' scheme, the others as SAN's code does.
pub fn random_weights(config: &SanConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    let clip = ClipSegConfig {
        text_config: config.text_config.clone(),
        vision_config: config.vision_config.clone(),
        projection_dim: config.projection_dim,
        ..ClipSegConfig::default()
    };
    let mut tensors = init::towers(&clip, seed);
    tensors.extend(fresh(config, seed));
    tensors
}

/// Every parameter but CLIP's, initialised as SAN's code does: timm's scheme for the blocks, Kaiming's (uniform, of gain 1)
/// for the fusion layers, PyTorch's for the rest.
pub(super) fn fresh(config: &SanConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    let mut shapes = BTreeMap::new();
    for_each_parameter(&config.init(&Device::flex()), |name, shape| {
        if !name.starts_with("clip.") {
            shapes.insert(name.to_owned(), shape.to_vec());
        }
    });
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let made = shapes.iter().map(|(name, shape)| {
        let data = tensor(name, shape, &shapes, config, &mut rng);
        let shape = shape.clone();
        (name.clone(), HostTensor { shape, data })
    });
    made.collect()
}

fn tensor(
    name: &str,
    shape: &[usize],
    shapes: &BTreeMap<String, Vec<usize>>,
    config: &SanConfig,
    rng: &mut ChaCha8Rng,
) -> Vec<f32> {
    let count = shape.iter().product();
    let name = name.strip_prefix("side_adapter_network.").unwrap_or(name);
    let (parent, field) = name.rsplit_once('.').unwrap_or(("", name));
    let part = name.split('.').next().unwrap_or(name);
    let mut normal = |std: f64| -> Vec<f32> {
        let samples = (0..count).map(|_| {
            let value: f64 = StandardNormal.sample(rng);
            (value * std) as f32
        });
        samples.collect()
    };
    let is_norm = parent.contains("norm");
    match (part, field) {
        ("bg_embed", _) => normal((config.projection_dim as f64).powf(-0.5)),
        // timm truncates at two units, a hundred standard deviations.
        ("pos_embed" | "query_embed" | "query_pos_embed", _) => normal(0.02),
        (_, "weight") if is_norm => vec![1.0; count],
        (_, "bias") if is_norm => vec![0.0; count],
        ("blocks", "weight") => normal(0.02),
        ("blocks" | "fusion_layers", "bias") => vec![0.0; count],
        _ => {
            let weight = format!("side_adapter_network.{parent}.weight");
            let fan_in = shapes.get(&weight).map_or(1, |shape| shape[1]) as f32;
            let gain = if part == "fusion_layers" {
                3f32.sqrt()
            } else {
                1.0
            };
            let bound = gain / fan_in.sqrt();
            (0..count)
                .map(|_| rng.random_range(-bound..=bound))
                .collect()
        }
    }
}
