//! Gradients at parameters: sums over tokens.

use rayon::prelude::*;

use super::isa::{Isa, dispatch};
use super::panels::{LANES, Lane, Panels, transpose_into};

/// Tokens that a tile sums over at a time.
const DEPTH: usize = 256;
/// Rows of a task.
const ROWS: usize = 4 * LANES;

/// The gradient at a matrix `[input, output]`, given its inputs and the gradient at its outputs, which is 0 after the last token
/// of an image. The order of summation does not depend on the number of threads.
fn matrix(x: &Panels, grad: &Panels) -> Vec<f32> {
    let (inputs, outputs) = (x.width, grad.width);
    let tokens = x.count * LANES;
    let (x, grad) = (by_token(x), by_token(grad));
    let mut result = vec![0.0; inputs * outputs];
    result
        .par_chunks_mut(ROWS * outputs)
        .zip(x.par_chunks(ROWS / LANES * tokens))
        .for_each(|(result, x)| {
            for (pair, grad) in grad.chunks(2 * tokens).enumerate() {
                columns(x, grad, tokens, result, outputs, 2 * pair * LANES);
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

/// Panels to `[16 features][token][feature]`, the last 16 padded with zeros.
fn by_token(panels: &Panels) -> Vec<Lane> {
    let tokens = panels.count * LANES;
    let mut result = vec![[0.0; LANES]; panels.width.div_ceil(LANES) * tokens];
    result
        .par_chunks_mut(tokens)
        .enumerate()
        .for_each(|(index, rows)| some_by_token(panels, index * LANES, rows));
    result
}

dispatch! {
    /// The 16 features from `first` on to `[token][feature]`.
    fn some_by_token(panels: &Panels, first: usize, rows: &mut [Lane]) = transpose_panels;
}

#[inline(always)]
fn transpose_panels<I: Isa>(panels: &Panels, first: usize, rows: &mut [Lane]) {
    let features = LANES.min(panels.width - first);
    for (panel, rows) in rows.chunks_mut(LANES).enumerate() {
        let mut block = [[0.0; LANES]; LANES];
        for (feature, lane) in (first..).zip(&mut block[..features]) {
            let (index, offset) = (feature / panels.block, feature % panels.block);
            let (lanes, _) = panels.panel(index, panel).as_chunks();
            *lane = lanes[offset];
        }
        transpose_into::<I>(&block, rows);
    }
}

dispatch! {
    /// Adds to 16 or 32 columns of some rows of the result, from `column` on.
    fn columns(
        x: &[Lane],
        grad: &[Lane],
        tokens: usize,
        result: &mut [f32],
        outputs: usize,
        column: usize,
    ) = add_columns;
}

#[inline(always)]
fn add_columns<I: Isa>(
    x: &[Lane],
    grad: &[Lane],
    tokens: usize,
    result: &mut [f32],
    outputs: usize,
    column: usize,
) {
    let (first, second) = grad.split_at(tokens);
    for start in (0..tokens).step_by(DEPTH) {
        let part = start..tokens.min(start + DEPTH);
        for (x, result) in x.chunks(tokens).zip(result.chunks_mut(LANES * outputs)) {
            let mut sums = [[[0.0; LANES]; LANES]; 2];
            let [a, b] = &mut sums;
            let (x, first) = (&x[part.clone()], &first[part.clone()]);
            if second.is_empty() {
                I::dot::<1, false>(x, [first], [a]);
            } else {
                I::dot::<2, false>(x, [first, &second[part.clone()]], [a, b]);
            }
            for (row, (a, b)) in result.chunks_mut(outputs).zip(sums[0].iter().zip(&sums[1])) {
                for (y, sum) in row[column..].iter_mut().zip(a.iter().chain(b)) {
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
