//! AdamW in one pass over a parameter.

use burn::backend::Flex;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::isa::{Isa, dispatch};
use super::tensors::{CHUNK, is_f32};
use crate::compose;
use crate::ops::{AdamW, AdamWFactors};

/// See [`adamw`](crate::adamw()). In place where the value or a moment has no other owner.
pub(crate) fn adamw(
    mut value: FlexTensor,
    gradient: FlexTensor,
    mut first: FlexTensor,
    mut second: FlexTensor,
    rule: AdamW,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    // Views with an offset into their storage, and dtypes other than f32, use the composition.
    let whole = |x: &FlexTensor| is_f32(x) && x.is_contiguous() && x.layout().start_offset() == 0;
    if ![&value, &gradient, &first, &second].into_iter().all(whole) {
        return compose::adamw::<Flex>(value, gradient, first, second, rule);
    }
    let factors = rule.factors();
    let values = value.storage_mut::<f32>();
    let firsts = first.storage_mut::<f32>();
    let seconds = second.storage_mut::<f32>();
    values
        .par_chunks_mut(CHUNK)
        .zip(gradient.storage::<f32>().par_chunks(CHUNK))
        .zip(firsts.par_chunks_mut(CHUNK))
        .zip(seconds.par_chunks_mut(CHUNK))
        .for_each(|(((value, gradient), first), second)| {
            step(value, gradient, first, second, factors);
        });
    (value, first, second)
}

dispatch! { fn step(
    values: &mut [f32],
    gradients: &[f32],
    firsts: &mut [f32],
    seconds: &mut [f32],
    factors: AdamWFactors,
) = step_body; }

#[inline(always)]
fn step_body<I: Isa>(
    values: &mut [f32],
    gradients: &[f32],
    firsts: &mut [f32],
    seconds: &mut [f32],
    factors: AdamWFactors,
) {
    let moments = firsts.iter_mut().zip(seconds);
    for ((value, gradient), (first, second)) in values.iter_mut().zip(gradients).zip(moments) {
        *first += (gradient - *first) * factors.rate_1;
        *second = *second * factors.beta_2 + gradient * gradient * factors.rate_2;
        let change = *first / (second.sqrt() / factors.root + factors.epsilon);
        *value = *value * factors.decay - change * factors.step_size;
    }
}
