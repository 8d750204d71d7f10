//! Random initialisation of adapters.

use std::collections::BTreeMap;

use burn::module::Module;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::init::{fan_in, torch_default};
use crate::method::AdapterInit;
use crate::weights::{self, for_each_parameter};

/// Adapters initialised by `seed`.
pub(crate) fn initialised<M: Module>(adapters: M, init: AdapterInit, seed: u64) -> M {
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
        // The last layer of a block, or of a low-rank change.
        let last = layer.ends_with(".fc2") || layer.ends_with(".b");
        let values = match (init, field) {
            (AdapterInit::NearZero, "bias") => vec![0.0; count],
            (AdapterInit::NearZero, _) => near_zero(count, &mut rng),
            _ => torch_default(count, *fan_ins.get(layer)?, &mut rng),
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
