//! Random weights of a CLIPSeg.

use std::collections::BTreeMap;

use burn::tensor::Device;
use rand_chacha::ChaCha8Rng;

use super::ClipSegConfig;
use crate::clip::init::ClipInit;
use crate::init::{self, Shapes, fan_in, torch_default};
use crate::tensor_file::HostTensor;

/// Every parameter of a CLIPSeg, initialised as Transformers' `CLIPSegPreTrainedModel` does (CLIP's scheme for the towers
/// and the decoder's attention, PyTorch's for the rest), except for the vision tower's position embeddings.
pub fn random_weights(config: &ClipSegConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    part(config, seed, |_| true)
}

/// The decoder, initialised as in [`random_weights`].
pub fn random_decoder(config: &ClipSegConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    part(config, seed, |name| name.starts_with("decoder."))
}

/// The parameters for which `wanted(name)` holds.
fn part(
    config: &ClipSegConfig,
    seed: u64,
    wanted: impl Fn(&str) -> bool,
) -> BTreeMap<String, HostTensor> {
    let clip = ClipInit {
        text: &config.text_config,
        vision: &config.vision_config,
        logit_scale: config.logit_scale_init_value,
        factor: config.initializer_factor,
    };
    init::parameters(
        &config.init(&Device::flex()),
        seed,
        wanted,
        |name, shape, shapes, rng| {
            let values = clip.values(name, shape, rng);
            values.unwrap_or_else(|| torch_values(name, shape, shapes, rng))
        },
    )
}

/// A parameter that CLIP's scheme does not know.
fn torch_values(name: &str, shape: &[usize], shapes: &Shapes, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let count = shape.iter().product();
    let (parent, field) = name.rsplit_once('.').unwrap_or(("", name));
    if field == "bias" && !parent.contains("transposed_convolution") {
        return vec![0.0; count];
    }
    // PyTorch draws a bias from the range of its weights.
    let weight = shapes.get(&format!("{parent}.weight")).map_or(shape, |s| s);
    torch_default(count, fan_in(weight), rng)
}
