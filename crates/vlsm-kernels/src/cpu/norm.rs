//! Layer normalisation from rows to panels, and back for gradients.

use rayon::prelude::*;

use super::gradient;
use super::isa::{Isa, dispatch, lane_by_lane};
use super::panels::{LANES, Lane, Panels, Rows, add_to_rows, from_rows};

/// Scale, shift and epsilon of a layer normalisation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) gamma: &'a [f32],
    pub(crate) beta: &'a [f32],
    pub(crate) epsilon: f64,
}

impl Norm<'_> {
    /// Rows, normalised, in one block of panels.
    pub(crate) fn forward(self, rows: &[f32], shape: Rows) -> Panels {
        let mut panels = Panels::zeros(shape.width, shape.width, shape.images * shape.panels());
        let rows: Vec<_> = shape.by_panel(rows).collect();
        panels
            .data
            .par_chunks_mut(shape.width * LANES)
            .zip(rows)
            .for_each(|(panel, rows)| {
                from_rows(panel, rows, shape.width, 0);
                normalise(panel, self.gamma, self.beta, self.epsilon);
            });
        panels
    }

    /// Adds the gradient at the rows, given that at the normalised panels.
    pub(crate) fn backward_onto(self, to: &mut [f32], rows: &[f32], grad: &Panels, shape: Rows) {
        let to: Vec<_> = shape.by_panel_mut(to).collect();
        let rows: Vec<_> = shape.by_panel(rows).collect();
        to.into_par_iter().zip(rows).enumerate().for_each_with(
            Vec::new(),
            |both, (panel, (to, rows))| {
                let size = shape.width * LANES;
                both.resize(2 * size, 0.0);
                let (x, g) = both.split_at_mut(size);
                from_rows(x, rows, shape.width, 0);
                for block in 0..shape.width.div_ceil(grad.block) {
                    let part = grad.panel(block, panel);
                    g[block * grad.block * LANES..][..part.len()].copy_from_slice(part);
                }
                to_input_grad(x, g, self.gamma, self.epsilon);
                add_to_rows(g, to, shape.width, 0);
            },
        );
    }

    /// The gradients at scale and shift, given that at the normalised panels, which is 0 after the last token of an image.
    pub(crate) fn parameters_backward(
        self,
        rows: &[f32],
        grad: &Panels,
        shape: Rows,
    ) -> Vec<Vec<f32>> {
        let plain = Norm {
            gamma: &vec![1.0; shape.width],
            beta: &vec![0.0; shape.width],
            ..self
        };
        let mut along = plain.forward(rows, shape);
        along
            .data
            .par_chunks_mut(shape.width * LANES)
            .enumerate()
            .for_each(|(panel, normal)| {
                for block in 0..shape.width.div_ceil(grad.block) {
                    let normal = &mut normal[block * grad.block * LANES..];
                    for (x, grad) in normal.iter_mut().zip(grad.panel(block, panel)) {
                        *x *= grad;
                    }
                }
            });
        vec![gradient::bias(&along), gradient::bias(grad)]
    }
}

/// Mean and reciprocal standard deviation of each token.
#[inline(always)]
fn statistics(x: &[Lane], epsilon: f64) -> [[f64; LANES]; 2] {
    let n = x.len() as f64;
    let mut mean = [0.0; LANES];
    for lane in x {
        lane_by_lane();
        for (mean, x) in mean.iter_mut().zip(lane) {
            *mean += f64::from(*x);
        }
    }
    mean = mean.map(|sum| sum / n);
    let mut squares = [0.0; LANES];
    for lane in x {
        lane_by_lane();
        for ((square, x), mean) in squares.iter_mut().zip(lane).zip(&mean) {
            let centred = f64::from(*x) - mean;
            *square += centred * centred;
        }
    }
    [mean, squares.map(|sum| 1.0 / (sum / n + epsilon).sqrt())]
}

dispatch! { fn normalise(panel: &mut [f32], gamma: &[f32], beta: &[f32], epsilon: f64) = normalise_body; }

#[inline(always)]
fn normalise_body<I: Isa>(panel: &mut [f32], gamma: &[f32], beta: &[f32], epsilon: f64) {
    let (lanes, _) = panel.as_chunks_mut::<LANES>();
    let [mean, rate] = statistics(lanes, epsilon);
    for ((lane, gamma), beta) in lanes.iter_mut().zip(gamma).zip(beta) {
        lane_by_lane();
        for ((x, mean), rate) in lane.iter_mut().zip(&mean).zip(&rate) {
            let normal = ((f64::from(*x) - mean) * rate) as f32;
            *x = normal * gamma + beta;
        }
    }
}

dispatch! { fn to_input_grad(x: &[f32], grad: &mut [f32], gamma: &[f32], epsilon: f64) = to_input_grad_body; }

/// Replaces the gradient at the output by that at the input: `(g - mean(g) - n mean(g n)) / std` with `g = grad * gamma`
/// and `n` the normalised input. The sums are in f64: the result of the two subtractions can be a thousand times smaller than
/// their operands.
#[inline(always)]
fn to_input_grad_body<I: Isa>(x: &[f32], grad: &mut [f32], gamma: &[f32], epsilon: f64) {
    let (x, _) = x.as_chunks::<LANES>();
    let (grad, _) = grad.as_chunks_mut::<LANES>();
    let [mean, rate] = statistics(x, epsilon);
    let mut total = [0.0; LANES];
    let mut along = [0.0; LANES];
    for ((x, grad), gamma) in x.iter().zip(&*grad).zip(gamma) {
        lane_by_lane();
        for token in 0..LANES {
            let g = f64::from(grad[token] * gamma);
            total[token] += g;
            along[token] += g * (f64::from(x[token]) - mean[token]);
        }
    }
    let n = x.len() as f64;
    for token in 0..LANES {
        total[token] /= n;
        along[token] *= rate[token] * rate[token] / n;
    }
    for ((x, grad), gamma) in x.iter().zip(grad).zip(gamma) {
        lane_by_lane();
        for token in 0..LANES {
            let g = f64::from(grad[token] * gamma);
            let centred = f64::from(x[token]) - mean[token];
            grad[token] = ((g - total[token] - centred * along[token]) * rate[token]) as f32;
        }
    }
}
