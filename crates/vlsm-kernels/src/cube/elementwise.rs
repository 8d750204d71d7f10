//! QuickGELU, its gradient, and AdamW on accelerators, each one kernel.

use burn::backend::TensorMetadata;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::cubecl::{self, calculate_cube_count_elemwise};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::empty_like;
use crate::ops::{AdamW, QUICK_GELU_SLOPE};

/// `1 / (1 + exp(-1.702 x))`.
#[cube]
fn gate(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-QUICK_GELU_SLOPE * x).exp())
}

#[cube(launch)]
fn quick_gelu_kernel(x: &[f32], output: &mut [f32]) {
    if ABSOLUTE_POS < output.len() {
        let value = x[ABSOLUTE_POS];
        output[ABSOLUTE_POS] = value * gate(value);
    }
}

/// See [`compose::quick_gelu`](crate::compose::quick_gelu).
pub(super) fn quick_gelu(x: CubeTensor) -> CubeTensor {
    let x = into_contiguous(x);
    let output = empty_like(&x);
    let (count, units) = cubes(&x);
    quick_gelu_kernel::launch(
        &output.client,
        count,
        units,
        x.into_buffer_arg(),
        output.clone().into_buffer_arg(),
    );
    output
}

#[cube(launch)]
fn quick_gelu_backward_kernel(x: &[f32], grad: &[f32], output: &mut [f32]) {
    if ABSOLUTE_POS < output.len() {
        let value = x[ABSOLUTE_POS];
        let open = gate(value);
        let slope = open * (1.0f32 + QUICK_GELU_SLOPE * value * (1.0f32 - open));
        output[ABSOLUTE_POS] = grad[ABSOLUTE_POS] * slope;
    }
}

/// See [`compose::quick_gelu_backward`](crate::compose::quick_gelu_backward).
pub(super) fn quick_gelu_backward(x: CubeTensor, grad: CubeTensor) -> CubeTensor {
    let x = into_contiguous(x);
    let output = empty_like(&x);
    let (count, units) = cubes(&x);
    quick_gelu_backward_kernel::launch(
        &output.client,
        count,
        units,
        x.into_buffer_arg(),
        into_contiguous(grad).into_buffer_arg(),
        output.clone().into_buffer_arg(),
    );
    output
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn adamw_kernel(
    value: &[f32],
    gradient: &[f32],
    first: &[f32],
    second: &[f32],
    new_value: &mut [f32],
    new_first: &mut [f32],
    new_second: &mut [f32],
    decay: f32,
    rate_1: f32,
    beta_2: f32,
    rate_2: f32,
    root: f32,
    epsilon: f32,
    step_size: f32,
) {
    if ABSOLUTE_POS < new_value.len() {
        let slope = gradient[ABSOLUTE_POS];
        let old = first[ABSOLUTE_POS];
        let m = old + (slope - old) * rate_1;
        let v = second[ABSOLUTE_POS] * beta_2 + slope * slope * rate_2;
        let change = m / (v.sqrt() / root + epsilon);
        new_value[ABSOLUTE_POS] = value[ABSOLUTE_POS] * decay - change * step_size;
        new_first[ABSOLUTE_POS] = m;
        new_second[ABSOLUTE_POS] = v;
    }
}

/// See [`compose::adamw`](crate::compose::adamw).
pub(super) fn adamw(
    value: CubeTensor,
    gradient: CubeTensor,
    first: CubeTensor,
    second: CubeTensor,
    rule: AdamW,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let factors = rule.factors();
    let value = into_contiguous(value);
    let new = [(); 3].map(|()| empty_like(&value));
    let (count, units) = cubes(&value);
    let [new_value, new_first, new_second] = new.clone();
    adamw_kernel::launch(
        &new_value.client.clone(),
        count,
        units,
        value.into_buffer_arg(),
        into_contiguous(gradient).into_buffer_arg(),
        into_contiguous(first).into_buffer_arg(),
        into_contiguous(second).into_buffer_arg(),
        new_value.into_buffer_arg(),
        new_first.into_buffer_arg(),
        new_second.into_buffer_arg(),
        factors.decay,
        factors.rate_1,
        factors.beta_2,
        factors.rate_2,
        factors.root,
        factors.epsilon,
        factors.step_size,
    );
    let [value, first, second] = new;
    (value, first, second)
}

/// One unit for each element.
fn cubes(x: &CubeTensor) -> (CubeCount, CubeDim) {
    let elements = x.shape().num_elements();
    let units = CubeDim::new(&x.client, elements);
    let count = calculate_cube_count_elemwise(&x.client, elements, units);
    (count, units)
}
