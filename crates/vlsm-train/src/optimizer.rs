//! AdamW over the trained parameters, and clipping by the global norm.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::{AdamW as Rule, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::{Device, Tensor, TensorData};
use vlsm_models::tensor_file::HostTensor;
use vlsm_models::weights::{self, Gradients, to_host};

use crate::recipe::OptimConfig;

/// AdamW (Loshchilov and Hutter 2019), Burn's rule, with moments kept by parameter name so that
/// they can be saved and put back.
pub struct AdamW {
    rule: Rule,
    moments: BTreeMap<String, AdamWState<1>>,
}

impl AdamW {
    /// An optimiser without history.
    pub fn new(config: &OptimConfig) -> Self {
        Self {
            rule: AdamWConfig::new()
                .with_beta_1(config.betas[0])
                .with_beta_2(config.betas[1])
                .with_epsilon(config.eps)
                .with_weight_decay(config.weight_decay)
                .build(),
            moments: BTreeMap::new(),
        }
    }

    /// One step; parameters without a gradient stay as they are.
    pub fn step<M: Module>(&mut self, model: M, mut gradients: Gradients, lr: f64) -> M {
        weights::update(model, |name, value| {
            let gradient = gradients.remove(name)?;
            let state = self.moments.remove(name);
            let (value, state) = self.rule.step(lr, value, gradient.flat, state);
            if let Some(state) = state {
                self.moments.insert(name.to_owned(), state);
            }
            Some(value)
        })
    }

    /// The moments, `m.NAME` and `v.NAME`, flat, and the number of steps taken.
    pub fn state(&self) -> (BTreeMap<String, HostTensor>, usize) {
        let mut tensors = BTreeMap::new();
        let mut steps = 0;
        for (name, state) in &self.moments {
            steps = state.momentum.time;
            for (kind, moment) in [
                ("m", &state.momentum.moment_1),
                ("v", &state.momentum.moment_2),
            ] {
                let data = to_host(moment.clone());
                let shape = vec![data.len()];
                tensors.insert(format!("{kind}.{name}"), HostTensor { shape, data });
            }
        }
        (tensors, steps)
    }

    /// Puts back what [`state`](Self::state) returned.
    pub fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, HostTensor>,
        steps: usize,
        device: &Device,
    ) {
        let names: Vec<String> = tensors
            .keys()
            .filter_map(|name| name.strip_prefix("m.").map(str::to_owned))
            .collect();
        for name in names {
            let mut moment = |kind: &str| {
                let tensor = tensors.remove(&format!("{kind}.{name}"))?;
                let data = TensorData::new(tensor.data, tensor.shape);
                Some(Tensor::<1>::from_data(data, device))
            };
            if let (Some(first), Some(second)) = (moment("m"), moment("v")) {
                let momentum = AdaptiveMomentumState::new(steps, first, second);
                self.moments.insert(name, AdamWState::new(momentum));
            }
        }
    }
}

/// The Euclidean norm of all gradients together.
pub fn global_norm(gradients: &Gradients) -> f64 {
    gradients
        .values()
        .map(|gradient| sum_of_squares(&gradient.flat))
        .sum::<f64>()
        .sqrt()
}

fn sum_of_squares(x: &Tensor<1>) -> f64 {
    // Pieces small enough that each is summed by one thread, in one order.
    const PIECE: usize = 1 << 20;
    x.clone()
        .split(PIECE, 0)
        .into_iter()
        .map(|piece| f64::from(piece.square().sum().into_scalar::<f32>()))
        .sum()
}

/// Scales gradients so that their global norm is at most `max_norm`, as PyTorch's
/// `clip_grad_norm_` does.
pub fn clip(gradients: Gradients, norm: f64, max_norm: f64) -> Gradients {
    let scale = max_norm / (norm + 1e-6);
    if scale >= 1.0 {
        return gradients;
    }
    scaled(gradients, scale)
}

/// Gradients times a number.
pub fn scaled(mut gradients: Gradients, factor: f64) -> Gradients {
    for gradient in gradients.values_mut() {
        gradient.flat = gradient.flat.clone() * factor;
    }
    gradients
}

/// The sum of gradients, name by name.
pub fn added(mut sum: Gradients, more: Gradients) -> Gradients {
    for (name, gradient) in more {
        match sum.get_mut(&name) {
            Some(there) => there.flat = there.flat.clone() + gradient.flat,
            None => {
                sum.insert(name, gradient);
            }
        }
    }
    sum
}
