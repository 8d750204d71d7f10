//! Layer normalisation and softmax on accelerators, forward and backward: a cube of units for each row of the last dimension, which
//! reads a row once or twice and writes it once. Composed of Burn's operations they would be 5 to 16 kernels, each of which reads
//! and writes whole tensors.

use burn::backend::TensorMetadata;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::cubecl::{self, calculate_cube_count_elemwise};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::empty_like;

/// Units of a cube. A power of two, for the sums over a cube.
const UNITS: u32 = 128;

/// The sum of a value over the units of a cube, for each unit.
#[cube]
fn sum(value: f32, shared: &mut Shared<[f32]>) -> f32 {
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    let total = shared[0];
    // So that no unit writes the next value before all have read this one.
    sync_cube();
    total
}

/// The largest of the values of a cube's units, for each unit.
#[cube]
fn largest(value: f32, shared: &mut Shared<[f32]>) -> f32 {
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] = max(shared[unit], other);
        }
        sync_cube();
        half /= 2;
    }
    let all = shared[0];
    sync_cube();
    all
}

/// The mean of a row, which starts at `start`, and 1 over its standard deviation.
#[cube]
fn moments(
    x: &[f32],
    start: usize,
    width: usize,
    epsilon: f32,
    shared: &mut Shared<[f32]>,
) -> (f32, f32) {
    let units = CUBE_DIM as usize;
    let unit = UNIT_POS as usize;
    let mut part = 0.0f32;
    let mut column = unit;
    while column < width {
        part += x[start + column];
        column += units;
    }
    let mean = sum(part, shared) / f32::cast_from(width);
    // Of the differences from the mean, as the sum of squares would cancel.
    let mut part = 0.0f32;
    let mut column = unit;
    while column < width {
        let centred = x[start + column] - mean;
        part += centred * centred;
        column += units;
    }
    let variance = sum(part, shared) / f32::cast_from(width);
    (mean, 1.0f32 / (variance + epsilon).sqrt())
}

#[cube(launch)]
fn layer_norm_kernel(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    output: &mut [f32],
    rows: usize,
    width: usize,
    epsilon: f32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let start = row * width;
    let (mean, inverse) = moments(x, start, width, epsilon, &mut shared);
    let mut column = UNIT_POS as usize;
    while column < width {
        let normal = (x[start + column] - mean) * inverse;
        output[start + column] = normal * gamma[column] + beta[column];
        column += CUBE_DIM as usize;
    }
}

/// See [`compose::layer_norm`](crate::compose::layer_norm).
pub(super) fn layer_norm(
    x: CubeTensor,
    gamma: CubeTensor,
    beta: CubeTensor,
    epsilon: f64,
) -> CubeTensor {
    let x = into_contiguous(x);
    let (rows, width) = rows(&x);
    let output = empty_like(&x);
    let (count, units) = cubes(&x, rows);
    layer_norm_kernel::launch(
        &output.client,
        count,
        units,
        x.into_buffer_arg(),
        into_contiguous(gamma).into_buffer_arg(),
        into_contiguous(beta).into_buffer_arg(),
        output.clone().into_buffer_arg(),
        rows,
        width,
        epsilon as f32,
    );
    output
}

#[cube(launch)]
fn layer_norm_backward_kernel(
    x: &[f32],
    gamma: &[f32],
    grad: &[f32],
    output: &mut [f32],
    rows: usize,
    width: usize,
    epsilon: f32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let start = row * width;
    let units = CUBE_DIM as usize;
    let (mean, inverse) = moments(x, start, width, epsilon, &mut shared);
    let mut part = 0.0f32;
    let mut part_along = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < width {
        let normal = (x[start + column] - mean) * inverse;
        let scaled = grad[start + column] * gamma[column];
        part += scaled;
        part_along += scaled * normal;
        column += units;
    }
    let mean_grad = sum(part, &mut shared) / f32::cast_from(width);
    let along = sum(part_along, &mut shared) / f32::cast_from(width);
    let mut column = UNIT_POS as usize;
    while column < width {
        let normal = (x[start + column] - mean) * inverse;
        let scaled = grad[start + column] * gamma[column];
        output[start + column] = (scaled - mean_grad - normal * along) * inverse;
        column += units;
    }
}

/// See [`compose::layer_norm_backward`](crate::compose::layer_norm_backward).
pub(super) fn layer_norm_backward(
    x: CubeTensor,
    gamma: CubeTensor,
    grad: CubeTensor,
    epsilon: f64,
) -> CubeTensor {
    let x = into_contiguous(x);
    let (rows, width) = rows(&x);
    let output = empty_like(&x);
    let (count, units) = cubes(&x, rows);
    layer_norm_backward_kernel::launch(
        &output.client,
        count,
        units,
        x.into_buffer_arg(),
        into_contiguous(gamma).into_buffer_arg(),
        into_contiguous(grad).into_buffer_arg(),
        output.clone().into_buffer_arg(),
        rows,
        width,
        epsilon as f32,
    );
    output
}

#[cube(launch)]
fn softmax_kernel(x: &[f32], output: &mut [f32], rows: usize, width: usize) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let start = row * width;
    let units = CUBE_DIM as usize;
    // Units beyond the row's end repeat its last value.
    let first = min(UNIT_POS as usize, width - 1);
    let mut peak = x[start + first];
    let mut column = first + units;
    while column < width {
        peak = max(peak, x[start + column]);
        column += units;
    }
    let peak = largest(peak, &mut shared);
    let mut part = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < width {
        part += (x[start + column] - peak).exp();
        column += units;
    }
    let inverse = 1.0f32 / sum(part, &mut shared);
    let mut column = UNIT_POS as usize;
    while column < width {
        output[start + column] = (x[start + column] - peak).exp() * inverse;
        column += units;
    }
}

/// See [`compose::softmax_last`](crate::compose::softmax_last).
pub(super) fn softmax_last(x: CubeTensor) -> CubeTensor {
    let x = into_contiguous(x);
    let (rows, width) = rows(&x);
    let output = empty_like(&x);
    let (count, units) = cubes(&x, rows);
    softmax_kernel::launch(
        &output.client,
        count,
        units,
        x.into_buffer_arg(),
        output.clone().into_buffer_arg(),
        rows,
        width,
    );
    output
}

#[cube(launch)]
fn softmax_backward_kernel(
    weights: &[f32],
    grad: &[f32],
    output: &mut [f32],
    rows: usize,
    width: usize,
    scale: f32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let start = row * width;
    let units = CUBE_DIM as usize;
    let mut part = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < width {
        part += weights[start + column] * grad[start + column];
        column += units;
    }
    let along = sum(part, &mut shared);
    let mut column = UNIT_POS as usize;
    while column < width {
        let at = start + column;
        output[at] = weights[at] * (grad[at] - along) * scale;
        column += units;
    }
}

/// See [`compose::softmax_backward`](crate::compose::softmax_backward).
pub(super) fn softmax_backward(weights: CubeTensor, grad: CubeTensor, scale: f32) -> CubeTensor {
    let weights = into_contiguous(weights);
    let (rows, width) = rows(&weights);
    let output = empty_like(&weights);
    let (count, units) = cubes(&weights, rows);
    softmax_backward_kernel::launch(
        &output.client,
        count,
        units,
        weights.into_buffer_arg(),
        into_contiguous(grad).into_buffer_arg(),
        output.clone().into_buffer_arg(),
        rows,
        width,
        scale,
    );
    output
}

/// The number of rows, and their width.
fn rows(x: &CubeTensor) -> (usize, usize) {
    let shape = x.shape();
    let width = shape[shape.num_dims() - 1];
    (shape.num_elements() / width.max(1), width)
}

/// One cube for each row, and its units.
fn cubes(x: &CubeTensor, rows: usize) -> (CubeCount, CubeDim) {
    let units = CubeDim::new_1d(UNITS);
    let count = calculate_cube_count_elemwise(&x.client, rows * UNITS as usize, units);
    (count, units)
}
