//! AdamW and Muon over the trained parameters, and clipping by the global norm.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdjustLrFn, Muon, MuonConfig, Optimizer as _};
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use vlsm_kernels::AdamW;
use vlsm_models::tensor_file::HostTensor;
use vlsm_models::weights::{self, FlatGradient, Gradients, to_host};

use crate::recipe::OptimConfig;

/// AdamW (Loshchilov and Hutter 2019) with PyTorch's update rule and, with `optim.muon`, Muon (Jordan et al. 2024) for the
/// matrices of transformer layers and adapters. Moments are kept by parameter name so that they can be saved and restored.
pub struct Optimizer {
    adamw: AdamW,
    /// First and second moment of each parameter.
    moments: BTreeMap<String, [Tensor<1>; 2]>,
    /// The same of all parameters together, after a step on an accelerator, instead of `moments`.
    joined: Option<Joined>,
    muon: Option<Muon>,
    velocities: BTreeMap<String, Tensor<1>>,
}

/// Moments of several parameters, one parameter after another.
struct Joined {
    /// Name and number of values of each parameter.
    parameters: Vec<(String, usize)>,
    moments: [Tensor<1>; 2],
}

impl Joined {
    /// The moments of each parameter.
    fn split(&self) -> impl Iterator<Item = (&str, [Tensor<1>; 2])> {
        let mut end = 0;
        self.parameters.iter().map(move |(name, count)| {
            end += count;
            let moments = self.moments.each_ref();
            let moments = moments.map(|moment| moment.clone().narrow(0, end - count, *count));
            (name.as_str(), moments)
        })
    }
}

/// Muon's momentum, the published value.
const MOMENTUM: f32 = 0.95;

impl Optimizer {
    /// An optimizer before its first step.
    pub fn new(config: &OptimConfig) -> Self {
        // The momentum is kept in `velocities`, so that it can be saved; Muon gets the result.
        let none = MomentumConfig {
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
        };
        let muon = MuonConfig::new()
            .with_momentum(none)
            .with_weight_decay(Some(WeightDecayConfig::new(config.weight_decay as f32)))
            .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW);
        Self {
            adamw: AdamW {
                lr: config.lr,
                betas: config.betas,
                epsilon: config.eps,
                weight_decay: config.weight_decay,
                step: 0,
            },
            moments: BTreeMap::new(),
            joined: None,
            muon: config.muon.then(|| muon.build()),
            velocities: BTreeMap::new(),
        }
    }

    /// Scales gradients so that their global norm is at most `max_norm`, if that is above 0, and takes a step. Returns the norm before,
    /// `[1]`, too. As [`global_norm`], [`clip`] and [`step`](Self::step), but for accelerators: nothing waits for the device, and AdamW
    /// updates all parameters together, by a few kernels in all instead of a dozen for each.
    pub fn clipped_step<M: Module>(
        &mut self,
        model: M,
        mut gradients: Gradients,
        max_norm: f64,
        lr: f64,
    ) -> (M, Tensor<1>) {
        if self.muon.is_some() {
            let (norm, gradients) = clip_on_device(gradients, max_norm);
            return (self.step(model, gradients, lr), norm);
        }
        self.adamw.lr = lr;
        self.adamw.step += 1;
        // In the order of the model, which is that of its values below.
        let (mut parameters, mut flat, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let model = weights::update_tracked(model, |name, value| {
            if let Some(gradient) = gradients.remove(name) {
                parameters.push((name.to_owned(), value.dims()[0]));
                flat.push(gradient.flat);
                values.push(value.clone());
            }
            value
        });
        if flat.is_empty() {
            return (model, Tensor::zeros([1], &Device::flex()));
        }
        let (gradient, norm) = clipped(Tensor::cat(flat, 0), max_norm);
        let moments = self.joined_moments(&parameters, &gradient);
        let values = Tensor::cat(values, 0);
        let (values, moments) = vlsm_kernels::adamw(values, gradient, moments, self.adamw);
        let mut start = 0;
        let mut next = parameters.iter().peekable();
        let model = weights::update_tracked(model, |name, value| {
            let Some((_, count)) = next.next_if(|(next, _)| next == name) else {
                return value;
            };
            start += count;
            values.clone().narrow(0, start - count, *count)
        });
        self.joined = Some(Joined {
            parameters,
            moments,
        });
        (model, norm)
    }

    /// The moments of parameters together; zeros for those without any.
    fn joined_moments(
        &mut self,
        parameters: &[(String, usize)],
        like: &Tensor<1>,
    ) -> [Tensor<1>; 2] {
        let same = self
            .joined
            .take_if(|joined| joined.parameters == parameters);
        if let Some(joined) = same {
            return joined.moments;
        }
        self.split_moments();
        let device = like.device();
        let all = parameters.iter().map(|(name, count)| {
            let zeros = || [(); 2].map(|()| Tensor::<1>::zeros([*count], &device));
            self.moments.remove(name).unwrap_or_else(zeros)
        });
        let (firsts, seconds) = all.map(|[first, second]| (first, second)).unzip();
        [firsts, seconds].map(|moments| Tensor::cat(moments, 0))
    }

    /// Puts moments that are together into `moments`.
    fn split_moments(&mut self) {
        if let Some(joined) = self.joined.take() {
            for (name, moments) in joined.split() {
                self.moments.insert(name.to_owned(), moments);
            }
        }
    }

    /// One step; parameters without a gradient do not change. Values are changed in place if nothing else refers to them.
    pub fn step<M: Module>(&mut self, model: M, mut gradients: Gradients, lr: f64) -> M {
        self.split_moments();
        self.adamw.lr = lr;
        self.adamw.step += 1;
        let mut turned = BTreeMap::new();
        let model = match self.muon.take() {
            Some(muon) => {
                let mut matrices = Vec::new();
                let model = weights::update_tracked(model, |name, value| {
                    let shape = gradients.get(name).and_then(FlatGradient::matrix);
                    let inside = [".layers.", "adapter", "_lora."];
                    if let Some(shape) = shape
                        && inside.iter().any(|part| name.contains(part))
                        && let Some(gradient) = gradients.remove(name)
                    {
                        let ahead = self.look_ahead(name, gradient.flat);
                        matrices.push((name.to_owned(), shape, value.clone(), ahead));
                    }
                    value
                });
                // Each matrix is too small to be split among cores, so matrices run in parallel.
                let stepped = matrices.into_par_iter().map(|(name, shape, value, ahead)| {
                    let (value, ahead) = (value.reshape(shape), ahead.reshape::<2, _>(shape));
                    let (value, _) = muon.step(lr, value, ahead, None);
                    (name, value.reshape([-1]))
                });
                turned = stepped.collect();
                self.muon = Some(muon);
                model
            }
            None => model,
        };
        weights::update_tracked(model, |name, value| {
            if let Some(value) = turned.remove(name) {
                return value;
            }
            let Some(gradient) = gradients.remove(name) else {
                return value;
            };
            let moments = self.moments.remove(name);
            let moments = moments.unwrap_or_else(|| [(); 2].map(|()| value.zeros_like()));
            let (value, moments) = vlsm_kernels::adamw(value, gradient.flat, moments, self.adamw);
            self.moments.insert(name.to_owned(), moments);
            value
        })
    }

    /// The gradient with Nesterov momentum, as Muon uses it.
    fn look_ahead(&mut self, name: &str, gradient: Tensor<1>) -> Tensor<1> {
        let velocity = match self.velocities.remove(name) {
            Some(velocity) => velocity * MOMENTUM + gradient.clone(),
            None => gradient.clone(),
        };
        self.velocities.insert(name.to_owned(), velocity.clone());
        velocity * MOMENTUM + gradient
    }

    /// The moments, `m.NAME`, `v.NAME` and Muon's `velocity.NAME`, flat, and the number of steps taken.
    pub fn state(&self) -> (BTreeMap<String, HostTensor>, usize) {
        let mut tensors = BTreeMap::new();
        let mut add = |kind: &str, name: &str, tensor: &Tensor<1>| {
            let data = to_host(tensor.clone());
            let shape = vec![data.len()];
            tensors.insert(format!("{kind}.{name}"), HostTensor { shape, data });
        };
        for (name, [first, second]) in &self.moments {
            add("m", name, first);
            add("v", name, second);
        }
        for (name, [first, second]) in self.joined.iter().flat_map(Joined::split) {
            add("m", name, &first);
            add("v", name, &second);
        }
        for (name, velocity) in &self.velocities {
            add("velocity", name, velocity);
        }
        (tensors, self.adamw.step)
    }

    /// Restores what [`state`](Self::state) returned.
    pub fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, HostTensor>,
        steps: usize,
        device: &Device,
    ) {
        self.adamw.step = steps;
        let mut firsts = BTreeMap::new();
        let mut seconds = BTreeMap::new();
        for (name, tensor) in std::mem::take(tensors) {
            let data = TensorData::new(tensor.data, tensor.shape);
            let tensor = Tensor::<1>::from_data(data, device);
            let Some((kind, name)) = name.split_once('.') else {
                continue;
            };
            let of_kind = match kind {
                "m" => &mut firsts,
                "v" => &mut seconds,
                _ => &mut self.velocities,
            };
            of_kind.insert(name.to_owned(), tensor);
        }
        for (name, first) in firsts {
            if let Some(second) = seconds.remove(&name) {
                self.moments.insert(name, [first, second]);
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
    // Each piece is small enough to be summed by one thread, so in a fixed order.
    const PIECE: usize = 1 << 20;
    x.clone()
        .split(PIECE, 0)
        .into_iter()
        .map(|piece| f64::from(piece.square().sum().into_scalar::<f32>()))
        .sum()
}

/// A gradient scaled so that its norm is at most `max_norm` if that is above 0, and its norm, `[1]`. Sums are in f32.
fn clipped(gradient: Tensor<1>, max_norm: f64) -> (Tensor<1>, Tensor<1>) {
    let norm = gradient.clone().square().sum().sqrt();
    if max_norm <= 0.0 {
        return (gradient, norm);
    }
    (gradient * clipping(&norm, max_norm), norm)
}

/// The factor that brings a norm down to `max_norm`.
fn clipping(norm: &Tensor<1>, max_norm: f64) -> Tensor<1> {
    let scale = (norm.clone() + 1e-6).recip() * max_norm;
    scale.clamp_max(1.0)
}

/// The Euclidean norm of all gradients together, `[1]`, and the gradients scaled so that their norm is at most `max_norm` if that
/// is above 0. As [`global_norm`] and [`clip`], computed on the device without waiting for it; sums are in f32.
pub(crate) fn clip_on_device(mut gradients: Gradients, max_norm: f64) -> (Tensor<1>, Gradients) {
    let sums = gradients
        .values()
        .map(|gradient| gradient.flat.clone().square().sum());
    let Some(sum) = sums.reduce(|sum, more| sum + more) else {
        return (Tensor::zeros([1], &Device::flex()), gradients);
    };
    let norm = sum.sqrt();
    if max_norm > 0.0 {
        let scale = clipping(&norm, max_norm);
        for gradient in gradients.values_mut() {
            gradient.flat = gradient.flat.clone() * scale.clone();
        }
    }
    (norm, gradients)
}

/// Scales gradients so that their global norm is at most `max_norm`, if that is above 0, as PyTorch's `clip_grad_norm_` does.
pub fn clip(gradients: Gradients, norm: f64, max_norm: f64) -> Gradients {
    if max_norm <= 0.0 {
        return gradients;
    }
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
            Some(total) => total.flat = total.flat.clone() + gradient.flat,
            None => {
                sum.insert(name, gradient);
            }
        }
    }
    sum
}
