//! Initialisation of adapters from a seed, the same on every machine.

use std::collections::BTreeMap;

use burn::module::Module;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::init::{fan_in, torch_default};
use crate::weights::{self, for_each_parameter};

/// How adapters are initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterInit {
    /// The last layer is zero, the first as PyTorch's linear layers: an adapter changes nothing at first.
    Zero,
    /// Matrices from N(0, 0.01^2) truncated at two standard deviations; biases are zero (Houlsby et al. 2019).
    NearZero,
    /// Both layers as PyTorch's linear layers.
    Random,
}

/// Adapters with their initial values. `is_last` takes a layer's name and returns whether it is the last layer of an
/// adapter.
pub(super) fn initialise<M: Module>(
    adapters: M,
    init: AdapterInit,
    seed: u64,
    is_last: impl Fn(&str) -> bool,
) -> M {
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
        let of_linear = ["weight", "bias"].contains(&field);
        if !of_linear {
            return None;
        }
        // Values are drawn for layers that start at zero too, so that the others do not depend on `init`.
        let values = match (init, field) {
            (AdapterInit::NearZero, "bias") => vec![0.0; count],
            (AdapterInit::NearZero, _) => near_zero(count, &mut rng),
            _ => torch_default(count, *fan_ins.get(layer)?, &mut rng),
        };
        Some(if init == AdapterInit::Zero && is_last(layer) {
            vec![0.0; count]
        } else {
            values
        })
    })
}

/// A method's parameters drawn from normal distributions: `of(name)` is a parameter's mean and standard deviation, or nothing
/// where it stays as it is.
pub(super) fn normal<M: Module>(
    adapters: M,
    seed: u64,
    of: impl Fn(&str) -> Option<(f32, f32)>,
) -> M {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    weights::fill(adapters, |name, shape| {
        let (mean, deviation) = of(name)?;
        let mut draw = || -> f32 { StandardNormal.sample(&mut rng) };
        let count = shape.iter().product();
        Some((0..count).map(|_| mean + deviation * draw()).collect())
    })
}

/// Draws from N(0, 0.01^2), truncated at two standard deviations.
fn near_zero(count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut draw = || loop {
        let value: f32 = StandardNormal.sample(rng);
        if value.abs() <= 2.0 {
            return 0.01 * value;
        }
    };
    (0..count).map(|_| draw()).collect()
}
