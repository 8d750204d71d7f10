//! Random weights of a CRIS.

use std::collections::BTreeMap;

use burn::tensor::Device;
use rand_chacha::ChaCha8Rng;

use super::config::CrisConfig;
use crate::init::{self, Shapes, fan_in, normal, torch_default};
use crate::tensor_file::HostTensor;

/// Every parameter of a CRIS, by its name in the module, initialised as in the published code: CLIP's scheme for what CLIP
/// has, PyTorch's for the rest.
pub fn random_weights(config: &CrisConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    init::parameters(
        &config.init(&Device::flex()),
        seed,
        |_| true,
        |name, shape, shapes, rng| values(name, shape, shapes, config, rng),
    )
}

/// The parameters that a CLIP does not have: neck, decoder, projector and the pool's residual.
pub(super) fn without_clip(config: &CrisConfig, seed: u64) -> BTreeMap<String, HostTensor> {
    let mut weights = random_weights(config, seed);
    weights.retain(|name, _| !name.starts_with("backbone.") || name.contains(".connect."));
    weights
}

fn values(
    name: &str,
    shape: &[usize],
    shapes: &Shapes,
    config: &CrisConfig,
    rng: &mut ChaCha8Rng,
) -> Vec<f32> {
    let count = shape.iter().product();
    let (parent, field) = name.rsplit_once('.').unwrap_or(("", name));
    let module = parent.rsplit('.').next().unwrap_or(parent);
    let inner = shape.last().copied().unwrap_or(1) as f64;
    let is_clip = name.starts_with("backbone.");
    // CLIP scales what is added to the residual stream by the depth of the text tower.
    let depth = (2.0 * config.text_config.num_hidden_layers as f64).powf(-0.5);
    match (module, field) {
        (_, "logit_scale") => vec![(1.0f32 / 0.07).ln()],
        (_, "running_mean") => vec![0.0; count],
        (_, "running_var") => vec![1.0; count],
        // Residual blocks start as their shortcuts.
        ("bn3", "weight") if name.contains(".layer") => vec![0.0; count],
        ("token_embedding", _) => normal(count, 0.02, rng),
        ("position_embedding", _) => normal(count, 0.01, rng),
        (_, "positional_embedding") => normal(count, inner.powf(-0.5), rng),
        ("q_proj" | "k_proj" | "v_proj" | "c_proj" | "text_projection", "weight") if is_clip => {
            // Of the pool's projections too: what goes in is as wide for all of them.
            normal(count, inner.powf(-0.5), rng)
        }
        ("out_proj", "weight") if is_clip => normal(count, inner.powf(-0.5) * depth, rng),
        ("fc1", "weight") => normal(count, (2.0 * inner).powf(-0.5), rng),
        ("fc2", "weight") => normal(count, (shape[0] as f64).powf(-0.5) * depth, rng),
        // PyTorch initialises the three as one matrix, U(-b, b) with b^2 = 6 / (in + 3 out) (Glorot and Bengio 2010).
        ("q_proj" | "k_proj" | "v_proj", "weight") => {
            let wider = 1.5f32.sqrt();
            let values = torch_default(count, fan_in(shape), rng).into_iter();
            values.map(|value| value * wider).collect()
        }
        ("q_proj" | "k_proj" | "v_proj" | "out_proj", "bias") if !name.contains(".attnpool.") => {
            vec![0.0; count]
        }
        (_, "bias") => match shapes.get(&format!("{parent}.weight")) {
            Some(weight) if weight.len() > 1 => torch_default(count, fan_in(weight), rng),
            _ => vec![0.0; count],
        },
        // A vector of weights is a normalisation's scale.
        _ if shape.len() == 1 => vec![1.0; count],
        _ => torch_default(count, fan_in(shape), rng),
    }
}
