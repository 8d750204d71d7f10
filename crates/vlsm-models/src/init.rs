//! Random initialisation, from a seed, the same on every machine.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Device;
use rand::distr::Distribution;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::config::ClipSegConfig;
use crate::method::AdapterInit;
use crate::tensor_file::HostTensor;
use crate::weights::{self, for_each_parameter};

/// Every parameter of a base, initialised as Transformers' `CLIPSegPreTrainedModel` does
/// (CLIP's scheme for the towers and the decoder's attention, PyTorch's for the rest), but for the
/// vision tower's position embeddings.
pub fn base(config: &ClipSegConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    part(config, seed, |_| true)
}

/// The decoder of a base, initialised as in [`base`].
pub fn decoder(config: &ClipSegConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    part(config, seed, |name| name.starts_with("decoder."))
}

/// The towers and their projections, initialised as in [`base`].
pub(crate) fn towers(config: &ClipSegConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    part(config, seed, |name| name.starts_with("clip."))
}

/// The parameters of a base for which `wanted(name)` holds.
fn part(
    config: &ClipSegConfig,
    seed: u64,
    wanted: impl Fn(&str) -> bool,
) -> BTreeMap<String, HostTensor> {
    let mut shapes = BTreeMap::new();
    for_each_parameter(&config.init(&Device::flex()), |name, shape| {
        if wanted(name) {
            shapes.insert(name.to_owned(), shape.to_vec());
        }
    });
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    shapes
        .iter()
        .map(|(name, shape)| {
            let data = base_tensor(name, shape, &shapes, config, &mut rng);
            let shape = shape.clone();
            (name.clone(), HostTensor { shape, data })
        })
        .collect()
}

fn base_tensor(
    name: &str,
    shape: &[usize],
    shapes: &BTreeMap<String, Vec<usize>>,
    config: &ClipSegConfig,
    rng: &mut ChaCha8Rng,
) -> Vec<f32> {
    let count = shape.iter().product();
    let factor = config.initializer_factor;
    let (parent, field) = name.rsplit_once('.').unwrap_or(("", name));
    let module = parent.rsplit('.').next().unwrap_or(parent);
    let is_text = name.starts_with("clip.text_model.");
    // The decoder's layers are initialised by the vision tower's depth, as in Transformers.
    let depth = if is_text {
        config.text_config.num_hidden_layers
    } else {
        config.vision_config.num_hidden_layers
    } as f64;
    let mut normal = |std: f64| -> Vec<f32> {
        (0..count)
            .map(|_| {
                let value: f64 = StandardNormal.sample(rng);
                (value * std * factor) as f32
            })
            .collect()
    };
    match (module, field) {
        (_, "logit_scale") => vec![config.logit_scale_init_value as f32],
        (_, "class_embedding") => normal((config.vision_config.hidden_size as f64).powf(-0.5)),
        ("position_embedding", _) if !is_text => grid_positions(shape[0], shape[1]),
        (
            "token_embedding" | "position_embedding" | "token_type_embedding" | "patch_embedding",
            _,
        ) => normal(0.02),
        (norm, "weight") if norm.contains("norm") || norm == "pre_layrnorm" => vec![1.0; count],
        ("q_proj" | "k_proj" | "v_proj", "weight") => {
            normal((shape[1] as f64).powf(-0.5) * (2.0 * depth).powf(-0.5))
        }
        ("out_proj", "weight") => normal((shape[1] as f64).powf(-0.5)),
        ("fc1", "weight") => normal((2.0 * shape[1] as f64).powf(-0.5)),
        ("fc2", "weight") => normal((shape[0] as f64).powf(-0.5) * (2.0 * depth).powf(-0.5)),
        ("text_projection" | "visual_projection", _) => normal((shape[1] as f64).powf(-0.5)),
        ("film_mul" | "film_add" | "bias", "bias") => vec![0.0; count],
        _ if name.contains("transposed_convolution") => {
            let weight = shapes.get(&format!("{parent}.weight")).map_or(shape, |s| s);
            uniform(count, fan_in(weight), rng)
        }
        (_, "bias") => vec![0.0; count],
        _ => uniform(count, fan_in(shape), rng),
    }
}

/// Position embeddings `[1 + grid * grid, width]` of a vision tower: sines and cosines of column and row, with waves from
/// 4 patches to 64; 0 for the class token.
///
/// A tower that is trained from nothing must tell neighbours from strangers before it can see any shape. Random
/// embeddings (Transformers' start) make it learn that position by position; with waves it is there from the start
/// (Beyer et al. 2022, "Better plain ViT baselines for ImageNet-1k"). And the waves must be strong: the normalisation that
/// follows leaves the share that each summand has, and patches grow severalfold while colours are learned. From a tenth
/// of them, scenes are answered patch by patch for nine thousand steps, and no place is learned.
fn grid_positions(tokens: usize, width: usize) -> Vec<f32> {
    const STRENGTH: f64 = 2.0;
    let grid = (tokens - 1).isqrt().max(1);
    let waves = (width / 4).max(1);
    let mut values = vec![0.0; width];
    for token in 0..tokens - 1 {
        for channel in 0..width {
            let (kind, wave) = (channel / waves, channel % waves);
            let along = if kind < 2 { token % grid } else { token / grid };
            let length = 4.0 * 16f64.powf(wave as f64 / waves as f64);
            let phase = std::f64::consts::TAU * along as f64 / length;
            let value = if kind.is_multiple_of(2) {
                phase.sin()
            } else {
                phase.cos()
            };
            values.push((STRENGTH * value) as f32);
        }
    }
    values
}

/// PyTorch's fan-in: everything but the first dimension.
pub(crate) fn fan_in(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}

/// PyTorch's default for linear and convolutional layers: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
pub(crate) fn uniform(count: usize, fan_in: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let bound = 1.0 / (fan_in as f32).sqrt();
    (0..count)
        .map(|_| rng.random_range(-bound..=bound))
        .collect()
}

/// Adapters at their start.
pub(crate) fn adapters<M: Module>(adapters: M, init: AdapterInit, seed: u64) -> M {
    let mut fan_ins = BTreeMap::new();
    for_each_parameter(&adapters, |name, shape| {
        if let Some(layer) = name.strip_suffix(".weight") {
            fan_ins.insert(layer.to_owned(), fan_in(shape));
        }
    });
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    weights::fill(adapters, |name, shape| {
        let count = shape.iter().product();
        let (layer, field) = name.rsplit_once('.')?;
        // Of a block, or of a low-rank change.
        let last = layer.ends_with(".fc2") || layer.ends_with(".b");
        let values = match (init, field) {
            (AdapterInit::NearZero, "bias") => vec![0.0; count],
            (AdapterInit::NearZero, _) => near_zero(count, &mut rng),
            _ => uniform(count, *fan_ins.get(layer)?, &mut rng),
        };
        Some(if init == AdapterInit::Zero && last {
            vec![0.0; count]
        } else {
            values
        })
    })
}

/// N(0, 0.01^2), cut at two deviations.
fn near_zero(count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut draw = || loop {
        let value: f32 = StandardNormal.sample(rng);
        if value.abs() <= 2.0 {
            return 0.01 * value;
        }
    };
    (0..count).map(|_| draw()).collect()
}
