//! The rule of AdamW in one pass over a parameter.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex};
use burn::tensor::DType;
use burn_flex::FlexTensor;
use multiversion::multiversion;
use rayon::prelude::*;

use crate::flex::CHUNK;

/// A step of AdamW (Loshchilov and Hutter 2019) in PyTorch's order of operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The number of this step, from 1.
    pub step: usize,
}

/// The factors of a step in the parameter's own precision, each computed in f64 as PyTorch does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factors {
    pub(crate) decay: f32,
    /// What the first moment moves by towards the gradient.
    pub(crate) move_1: f32,
    pub(crate) beta_2: f32,
    pub(crate) rate_2: f32,
    /// The root of the second moment's bias correction.
    pub(crate) root: f32,
    pub(crate) epsilon: f32,
    pub(crate) step_size: f32,
}

impl AdamW {
    pub(crate) fn factors(self) -> Factors {
        let [beta_1, beta_2] = self.betas;
        let correction = |beta: f64| 1.0 - beta.powf(self.step as f64);
        Factors {
            decay: (1.0 - self.lr * self.weight_decay) as f32,
            move_1: (1.0 - beta_1) as f32,
            beta_2: beta_2 as f32,
            rate_2: (1.0 - beta_2) as f32,
            root: correction(beta_2).sqrt() as f32,
            epsilon: self.epsilon as f32,
            step_size: (self.lr / correction(beta_1)) as f32,
        }
    }
}

/// See [`adamw`](crate::adamw).
pub(crate) fn composed<B: Backend>(
    value: FloatTensor<B>,
    gradient: FloatTensor<B>,
    first: FloatTensor<B>,
    second: FloatTensor<B>,
    rule: AdamW,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let by = rule.factors();
    let times = |x: FloatTensor<B>, factor: f32| B::float_mul_scalar(x, factor.into());
    let away = B::float_sub(gradient.clone(), first.clone());
    let first = B::float_add(first, times(away, by.move_1));
    let square = B::float_mul(gradient.clone(), gradient);
    let second = B::float_add(times(second, by.beta_2), times(square, by.rate_2));
    let root = B::float_div_scalar(B::float_sqrt(second.clone()), by.root.into());
    let change = B::float_div(first.clone(), B::float_add_scalar(root, by.epsilon.into()));
    let value = B::float_sub(times(value, by.decay), times(change, by.step_size));
    (value, first, second)
}

/// In place where nobody else holds what is changed.
pub(crate) fn on_slices(
    mut value: FlexTensor,
    gradient: FlexTensor,
    mut first: FlexTensor,
    mut second: FlexTensor,
    rule: AdamW,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let plain = |x: &FlexTensor| {
        x.dtype() == DType::F32 && x.is_contiguous() && x.layout().start_offset() == 0
    };
    if ![&value, &gradient, &first, &second].into_iter().all(plain) {
        return composed::<Flex>(value, gradient, first, second, rule);
    }
    let by = rule.factors();
    let values = value.storage_mut::<f32>();
    let firsts = first.storage_mut::<f32>();
    let seconds = second.storage_mut::<f32>();
    values
        .par_chunks_mut(CHUNK)
        .zip(gradient.storage::<f32>().par_chunks(CHUNK))
        .zip(firsts.par_chunks_mut(CHUNK))
        .zip(seconds.par_chunks_mut(CHUNK))
        .for_each(|(((value, gradient), first), second)| {
            step(value, gradient, first, second, by);
        });
    (value, first, second)
}

#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn step(
    values: &mut [f32],
    gradients: &[f32],
    firsts: &mut [f32],
    seconds: &mut [f32],
    by: Factors,
) {
    let moments = firsts.iter_mut().zip(seconds);
    for ((value, gradient), (first, second)) in values.iter_mut().zip(gradients).zip(moments) {
        *first += (gradient - *first) * by.move_1;
        *second = *second * by.beta_2 + gradient * gradient * by.rate_2;
        let change = *first / (second.sqrt() / by.root + by.epsilon);
        *value = *value * by.decay - change * by.step_size;
    }
}
