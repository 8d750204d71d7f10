//! Gradients at parameters: sums over tokens.

use multiversion::multiversion;
use multiversion::target::selected_target;
use rayon::prelude::*;

use super::exp::fuses;
use super::panels::{LANES, Lane, Panels};
use super::tile::{TILE, tile};

/// Tokens that a tile sums over at a time.
const DEPTH: usize = 256;
/// Rows of a task.
const ROWS: usize = 8 * TILE;

/// The gradient at a matrix `[input, output]`, given its inputs and the gradient at its outputs, which is 0 after the last token
/// of an image. The order of summation does not depend on the number of threads.
fn matrix(x: &Panels, grad: &Panels) -> Vec<f32> {
    let (inputs, outputs) = (x.width, grad.width);
    let tokens = x.count * LANES;
    // `[tile of inputs][token][input]` and `[16 outputs][token][output]`: tiles sum over tokens.
    let x = by_token::<TILE>(x);
    let grad = by_token::<LANES>(grad);
    let mut result = vec![0.0; inputs * outputs];
    result
        .par_chunks_mut(ROWS * outputs)
        .zip(x.par_chunks(ROWS * tokens))
        .for_each(|(result, x)| {
            for (column, grad) in grad.chunks(LANES * tokens).enumerate() {
                tiles(x, grad, tokens, result, outputs, column * LANES);
            }
        });
    result
}

/// The gradients at a layer's matrix and bias, as for [`matrix`]; empty unless they are needed.
pub(crate) fn layer(x: &Panels, grad: &Panels, needed: bool) -> [Vec<f32>; 2] {
    if needed {
        [matrix(x, grad), bias(grad)]
    } else {
        [Vec::new(), Vec::new()]
    }
}

/// The sum of each feature over the tokens: the gradient at a bias.
pub(crate) fn bias(grad: &Panels) -> Vec<f32> {
    let mut result = vec![0.0; grad.width];
    result
        .par_chunks_mut(grad.block)
        .enumerate()
        .for_each(|(block, result)| {
            let mut sums = vec![[0.0f32; LANES]; result.len()];
            for panel in 0..grad.count {
                let (lanes, _) = grad.panel(block, panel).as_chunks::<LANES>();
                for (sum, lane) in sums.iter_mut().zip(lanes) {
                    for (sum, x) in sum.iter_mut().zip(lane) {
                        *sum += x;
                    }
                }
            }
            for (y, sums) in result.iter_mut().zip(&sums) {
                *y = sums.iter().sum();
            }
        });
    result
}

/// Panels to `[tile][token][feature]`, the last tile padded with zeros.
fn by_token<const WIDTH: usize>(panels: &Panels) -> Vec<f32> {
    let tokens = panels.count * LANES;
    let mut result = vec![0.0; panels.width.div_ceil(WIDTH) * WIDTH * tokens];
    result
        .par_chunks_mut(WIDTH * tokens)
        .enumerate()
        .for_each(|(index, tile)| {
            let (rows, _) = tile.as_chunks_mut::<WIDTH>();
            let features = index * WIDTH..panels.width.min((index + 1) * WIDTH);
            for (column, feature) in features.enumerate() {
                let (block, offset) = (feature / panels.block, feature % panels.block);
                for (panel, rows) in rows.chunks_mut(LANES).enumerate() {
                    let lane = &panels.panel(block, panel)[offset * LANES..][..LANES];
                    for (row, x) in rows.iter_mut().zip(lane) {
                        row[column] = *x;
                    }
                }
            }
        });
    result
}

/// 16 columns of some rows of the result.
#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn tiles(
    x: &[f32],
    grad: &[f32],
    tokens: usize,
    result: &mut [f32],
    outputs: usize,
    column: usize,
) {
    const FMA: bool = fuses(selected_target!());
    let (grad, _) = grad.as_chunks::<LANES>();
    let width = LANES.min(outputs - column);
    for (start, grad) in grad.chunks(DEPTH).enumerate() {
        for (x, result) in x
            .chunks(TILE * tokens)
            .zip(result.chunks_mut(TILE * outputs))
        {
            let (x, _) = x[start * DEPTH * TILE..].as_chunks::<TILE>();
            let sums: [Lane; TILE] = tile::<TILE, TILE, 0, FMA>(x, grad);
            for (row, sums) in result.chunks_mut(outputs).zip(&sums) {
                for (y, sum) in row[column..][..width].iter_mut().zip(sums) {
                    *y += sum;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::Rows;
    use super::*;

    #[test]
    fn equals_the_plain_sums() {
        for (tokens, inputs, outputs) in [(1, 1, 1), (21, 7, 20), (150, 100, 33)] {
            let shape = Rows {
                images: 2,
                tokens,
                width: inputs,
            };
            let other = Rows {
                width: outputs,
                ..shape
            };
            let numbers = |count: usize| -> Vec<f32> {
                (0..count)
                    .map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0)
                    .collect()
            };
            let (x, grad) = (numbers(2 * tokens * inputs), numbers(2 * tokens * outputs));
            let (a, b) = (
                Panels::pack(&x, shape, inputs),
                Panels::pack(&grad, other, outputs),
            );
            let (weights, biases) = (matrix(&a, &b), bias(&b));
            for output in 0..outputs {
                let column = grad.iter().skip(output).step_by(outputs);
                let sum: f64 = column.clone().map(|g| f64::from(*g)).sum();
                assert!((f64::from(biases[output]) - sum).abs() < 1e-4);
                for input in 0..inputs {
                    let row = x.iter().skip(input).step_by(inputs);
                    let sum: f64 = row
                        .zip(column.clone())
                        .map(|(x, g)| f64::from(*x) * f64::from(*g))
                        .sum();
                    assert!((f64::from(weights[input * outputs + output]) - sum).abs() < 1e-4);
                }
            }
        }
    }
}
