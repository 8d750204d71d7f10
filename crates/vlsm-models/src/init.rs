//! Random initialisation, from a seed, the same on every machine.

use std::collections::BTreeMap;

use burn::module::Module;
use rand::distr::Distribution;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::tensor_file::HostTensor;
use crate::weights::for_each_parameter;

/// Shapes of parameters by name, as in files.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// The parameters of a network for which `wanted(name)` holds, in the order of their names; `values` draws one.
pub(crate) fn parameters<M: Module>(
    network: &M,
    seed: u64,
    wanted: impl Fn(&str) -> bool,
    values: impl Fn(&str, &[usize], &Shapes, &mut ChaCha8Rng) -> Vec<f32>,
) -> BTreeMap<String, HostTensor> {
    let mut shapes = Shapes::new();
    for_each_parameter(network, |name, shape| {
        if wanted(name) {
            shapes.insert(name.to_owned(), shape.to_vec());
        }
    });
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let tensors = shapes.iter().map(|(name, shape)| {
        let data = values(name, shape, &shapes, &mut rng);
        let shape = shape.clone();
        (name.clone(), HostTensor { shape, data })
    });
    tensors.collect()
}

/// N(0, `std`^2).
pub(crate) fn normal(count: usize, std: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let sample = |_| {
        let value: f64 = StandardNormal.sample(rng);
        (value * std) as f32
    };
    (0..count).map(sample).collect()
}

/// U(-`bound`, `bound`).
pub(crate) fn uniform(count: usize, bound: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count)
        .map(|_| rng.random_range(-bound..=bound))
        .collect()
}

/// PyTorch's default for linear and convolutional layers: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
pub(crate) fn torch_default(count: usize, fan_in: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    uniform(count, 1.0 / (fan_in as f32).sqrt(), rng)
}

/// PyTorch's fan-in: everything but the first dimension.
pub(crate) fn fan_in(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}
