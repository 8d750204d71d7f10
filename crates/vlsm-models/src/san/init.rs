//! Random weights of a SAN.

use std::collections::BTreeMap;

use burn::tensor::Device;
use rand_chacha::ChaCha8Rng;

use super::SanConfig;
use crate::clip::init::ClipInit;
use crate::init::{self, Shapes, uniform};
use crate::tensor_file::HostTensor;

/// Every parameter of a SAN, by its name in the module: CLIP's by Transformers' scheme, the others as SAN's code does.
pub fn random_weights(config: &SanConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    let clip = ClipInit::new(&config.text_config, &config.vision_config);
    let mut tensors = init::parameters(
        &config.init(&Device::flex()),
        seed,
        |name| name.starts_with("clip."),
        |name, shape, _, rng| {
            let values = clip.values(name, shape, rng);
            // What is left are biases.
            values.unwrap_or_else(|| vec![0.0; shape.iter().product()])
        },
    );
    tensors.extend(side_network(config, seed));
    tensors
}

/// Every parameter except CLIP's, initialised as SAN's code does: timm's scheme for the blocks, Kaiming's (uniform, gain 1)
/// for the fusion layers, PyTorch's for the rest.
pub(super) fn side_network(config: &SanConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    init::parameters(
        &config.init(&Device::flex()),
        seed,
        |name| !name.starts_with("clip."),
        |name, shape, shapes, rng| values(name, shape, shapes, config, rng),
    )
}

fn values(
    name: &str,
    shape: &[usize],
    shapes: &Shapes,
    config: &SanConfig,
    rng: &mut ChaCha8Rng,
) -> Vec<f32> {
    let count = shape.iter().product();
    let name = name.strip_prefix("side_adapter_network.").unwrap_or(name);
    let (parent, field) = name.rsplit_once('.').unwrap_or(("", name));
    let part = name.split('.').next().unwrap_or(name);
    let is_norm = parent.contains("norm");
    match (part, field) {
        ("bg_embed", _) => init::normal(count, (config.projection_dim as f64).powf(-0.5), rng),
        // timm truncates at two units, a hundred standard deviations.
        ("pos_embed" | "query_embed" | "query_pos_embed", _) => init::normal(count, 0.02, rng),
        (_, "weight") if is_norm => vec![1.0; count],
        (_, "bias") if is_norm => vec![0.0; count],
        ("blocks", "weight") => init::normal(count, 0.02, rng),
        ("blocks" | "fusion_layers", "bias") => vec![0.0; count],
        _ => {
            let weight = format!("side_adapter_network.{parent}.weight");
            let fan_in = shapes.get(&weight).map_or(1, |shape| shape[1]) as f32;
            let gain = if part == "fusion_layers" {
                3f32.sqrt()
            } else {
                1.0
            };
            uniform(count, gain / fan_in.sqrt(), rng)
        }
    }
}
