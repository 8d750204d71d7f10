//! Products of weights and tokens.

use std::cell::RefCell;
use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::int8;
use super::isa::{Isa, dispatch, tile};
use super::linear::{Term, Values, Weights};
use super::panels::{LANES, Lane, Panels, copy_start};
use super::tile::{add_panel, add_panels};

/// Inputs that a tile sums over at a time: their weights, and the panels' values, stay in the L1 cache.
const DEPTH: usize = 256;
/// Inputs for which weights are packed at a time, as many as fit in the L2 cache with [`BLOCK`] outputs.
const GROUP: usize = 768;
/// Outputs of a task, and the features in a block of its result.
pub(crate) const BLOCK: usize = 192;

/// Which panel of a result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelIndex {
    pub(crate) block: usize,
    pub(crate) panel: usize,
}

/// A product of weights and tokens, or a sum of several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) terms: &'a [Term<'a>],
    pub(crate) bias: Option<&'a [f32]>,
    /// Features in a block of the result.
    pub(crate) block: usize,
    /// Threads available.
    pub(crate) threads: usize,
}

impl Product<'_> {
    /// [`run_with`](Self::run_with) without a second array.
    pub(crate) fn run(self, finish: impl Fn(PanelIndex, &mut [f32]) + Sync) -> Panels {
        self.run_with::<()>(None, |index, part, _| finish(index, part))
    }

    /// The sum of `weights^T x` over the terms, and the bias. `finish` is called with each panel of each block of the result as
    /// soon as it is complete, and with the same part of a second array, which has one value for each lane of the result.
    ///
    /// Each value is summed in the same order whatever else is computed, so that an image's result depends neither on its
    /// batch nor on the number of threads.
    pub(crate) fn run_with<T: Send>(
        self,
        second: Option<&mut [T]>,
        finish: impl Fn(PanelIndex, &mut [f32], Option<&mut [T]>) + Sync,
    ) -> Panels {
        let (outputs, count) = (self.terms[0].outputs(), self.terms[0].panels());
        let mut result = Panels::zeros(outputs, self.block, count);
        let blocks = outputs.div_ceil(self.block);
        // Weights are packed again for each range of panels: few ranges, but enough tasks for all threads to end together.
        let ranges = (4 * self.threads).div_ceil(blocks);
        let range = count.div_ceil(ranges).max(8);
        let mut tasks = Vec::new();
        let mut second = second.map(|second| second.chunks_mut(self.block * count));
        for (block, data) in result
            .data
            .chunks_mut(self.block * count * LANES)
            .enumerate()
        {
            let features = data.len() / (count * LANES);
            let mut other = second
                .as_mut()
                .and_then(Iterator::next)
                .map(|data| data.chunks_mut(range * features));
            for (part, data) in data.chunks_mut(range * features * LANES).enumerate() {
                let index = PanelIndex {
                    block,
                    panel: part * range,
                };
                let other = other.as_mut().and_then(Iterator::next);
                tasks.push((index, features, data, other));
            }
        }
        tasks
            .into_par_iter()
            .for_each(|(index, features, data, mut other)| {
                let first = index.block * self.block;
                // Without a bias the result starts at 0, as it was allocated.
                if let Some(bias) = self.bias {
                    let (lanes, _) = data.as_chunks_mut::<LANES>();
                    for panel in lanes.chunks_mut(features) {
                        for (lane, bias) in panel.iter_mut().zip(&bias[first..]) {
                            *lane = [*bias; LANES];
                        }
                    }
                }
                for term in self.terms {
                    match *term {
                        Term::F32(weights, x) => {
                            add_product(weights, x, first, features, index.panel, data);
                        }
                        Term::Int8(weights, x) => {
                            int8::add_product(weights, x, first, features, index.panel, data);
                        }
                    }
                }
                for (panel, data) in data.chunks_mut(features * LANES).enumerate() {
                    let index = PanelIndex {
                        panel: index.panel + panel,
                        ..index
                    };
                    let other = other
                        .as_deref_mut()
                        .map(|other| &mut other[panel * features..][..features]);
                    finish(index, data, other);
                }
            });
        result
    }
}

thread_local! {
    /// Weights in the order in which tiles read them.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Adds the product with some outputs, from `first_output` on, to the panels from `first_panel` on, `data`:
/// `[panel][output][token]`.
fn add_product(
    weights: Weights<'_>,
    x: &Panels,
    first_output: usize,
    outputs: usize,
    first_panel: usize,
    data: &mut [f32],
) {
    // Pieces of the input: block, first feature there, features.
    let mut pieces = Vec::new();
    for block in 0..x.width.div_ceil(x.block) {
        let features = x.features(block);
        for start in (0..features).step_by(DEPTH) {
            pieces.push((block, start, DEPTH.min(features - start)));
        }
    }
    // Outputs with those that pad the last tile.
    let padded = outputs.next_multiple_of(tile());
    PACKED.with_borrow_mut(|packed| {
        let mut pieces = &pieces[..];
        while !pieces.is_empty() {
            let mut depth = 0;
            let group = pieces
                .iter()
                .take_while(|piece| {
                    depth += piece.2;
                    depth <= GROUP
                })
                .count()
                .max(1);
            let now;
            (now, pieces) = pieces.split_at(group);
            let depth: usize = now.iter().map(|piece| piece.2).sum();
            packed.resize(packed.len().max(depth * padded), 0.0);
            let mut rest = &mut packed[..];
            for (block, start, depth) in now {
                let part;
                (part, rest) = rest.split_at_mut(depth * padded);
                let first_input = block * x.block + start;
                let inputs = first_input..first_input + depth;
                pack(weights, inputs, first_output..first_output + outputs, part);
            }
            for (pair, data) in data.chunks_mut(2 * outputs * LANES).enumerate() {
                let panel = first_panel + 2 * pair;
                let (first, second) = data.split_at_mut(outputs * LANES);
                let mut rest = &packed[..];
                for (block, start, depth) in now {
                    let part;
                    (part, rest) = rest.split_at(depth * padded);
                    let x = |panel| &x.panel(*block, panel)[start * LANES..][..depth * LANES];
                    if second.is_empty() {
                        add_panel(part, x(panel), first);
                    } else {
                        add_panels(part, [x(panel), x(panel + 1)], [first, second]);
                    }
                }
            }
        }
    });
}

dispatch! {
    /// Weights to `[tile][input][output]`, the last tile padded with zeros.
    fn pack(
        weights: Weights<'_>,
        inputs: Range<usize>,
        outputs: Range<usize>,
        packed: &mut [f32],
    ) = pack_tiles;
}

#[inline(always)]
fn pack_tiles<I: Isa>(
    weights: Weights<'_>,
    inputs: Range<usize>,
    outputs: Range<usize>,
    packed: &mut [f32],
) {
    // The length of a tile as a constant, for copies without calls.
    match (weights.data, I::TILE) {
        (Values::F32(data), 6) => pack_values::<I, f32, 6>(data, weights, inputs, outputs, packed),
        (Values::F32(data), _) => pack_values::<I, f32, 8>(data, weights, inputs, outputs, packed),
        (Values::F16(data), 6) => pack_values::<I, u16, 6>(data, weights, inputs, outputs, packed),
        (Values::F16(data), _) => pack_values::<I, u16, 8>(data, weights, inputs, outputs, packed),
    }
}

/// A weight as it is stored.
trait Stored: Copy {
    /// As f32.
    fn value(self) -> f32;

    /// The first values, as many as there are in both.
    fn copy_start<I: Isa>(from: &[Self], to: &mut Lane);
}

impl Stored for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    fn copy_start<I: Isa>(from: &[f32], to: &mut Lane) {
        copy_start(from, to);
    }
}

/// Half precision.
impl Stored for u16 {
    #[inline(always)]
    fn value(self) -> f32 {
        f16::from_bits(self).to_f32_const()
    }

    #[inline(always)]
    fn copy_start<I: Isa>(from: &[u16], to: &mut Lane) {
        match from.first_chunk() {
            Some(from) => *to = I::from_half(from),
            None => {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from.value();
                }
            }
        }
    }
}

#[inline(always)]
fn pack_values<I: Isa, T: Stored, const TILE: usize>(
    data: &[T],
    weights: Weights<'_>,
    inputs: Range<usize>,
    outputs: Range<usize>,
    packed: &mut [f32],
) {
    let first = inputs.start * weights.input_stride + outputs.start * weights.output_stride;
    let data = &data[first..];
    let (inputs, outputs) = (inputs.len(), outputs.len());
    let (tiles, rest) = packed.split_at_mut(outputs / (2 * TILE) * 2 * TILE * inputs);
    for (pair, packed) in tiles.chunks_exact_mut(2 * TILE * inputs).enumerate() {
        let data = &data[pair * 2 * TILE * weights.output_stride..];
        let (first, second) = packed.split_at_mut(TILE * inputs);
        let (first, _) = first.as_chunks_mut::<TILE>();
        let (second, _) = second.as_chunks_mut::<TILE>();
        let rows = first.iter_mut().zip(second);
        if weights.output_stride == 1 {
            for (input, (first, second)) in rows.enumerate() {
                let mut lane = [0.0; LANES];
                T::copy_start::<I>(&data[input * weights.input_stride..], &mut lane);
                copy_start(&lane, first);
                copy_start(&lane[TILE..], second);
            }
        } else if weights.input_stride == 1 {
            let mut rows = rows;
            for start in (0..inputs).step_by(LANES) {
                let mut block = [[0.0; LANES]; LANES];
                let width = LANES.min(inputs - start);
                for (output, lane) in block[..2 * TILE].iter_mut().enumerate() {
                    T::copy_start::<I>(
                        &data[output * weights.output_stride + start..][..width],
                        lane,
                    );
                }
                let mut columns = [[0.0; LANES]; LANES];
                I::transpose(&block, &mut columns);
                for ((first, second), lane) in rows.by_ref().take(width).zip(&columns) {
                    copy_start(lane, first);
                    copy_start(&lane[TILE..], second);
                }
            }
        } else {
            for (input, (first, second)) in rows.enumerate() {
                let data = data[input * weights.input_stride..].iter();
                let row = data.step_by(weights.output_stride);
                for (packed, weight) in first.iter_mut().chain(second).zip(row) {
                    *packed = weight.value();
                }
            }
        }
    }
    // Less than two tiles.
    let done = outputs / (2 * TILE) * 2 * TILE;
    for (tile, packed) in rest.chunks_mut(TILE * inputs).enumerate() {
        let first = done + tile * TILE;
        packed.fill(0.0);
        if first < outputs {
            for (input, packed) in packed.chunks_exact_mut(TILE).enumerate() {
                let start = input * weights.input_stride + first * weights.output_stride;
                let row = data[start..].iter().step_by(weights.output_stride);
                for (packed, weight) in packed.iter_mut().zip(row.take(outputs - first)) {
                    *packed = weight.value();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::Rows;
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0)
            .collect()
    }

    /// Sizes around the boundaries of tiles, blocks, depth, group and panels.
    #[test]
    fn equals_the_plain_sum_in_both_orders() {
        for (tokens, inputs, outputs) in [
            (1, 1, 1),
            (3, 1, 40),
            (3, 40, 1),
            (5, 7, 13),
            (17, 64, 192),
            (40, 300, 199),
            (33, 1030, 25),
        ] {
            let shape = Rows {
                images: 2,
                tokens,
                width: inputs,
            };
            let rows = numbers(2 * tokens * inputs, 1);
            let matrix = numbers(inputs * outputs, 2);
            let bias = numbers(outputs, 3);
            let x = Panels::pack(&rows, shape, inputs);
            for (input_stride, output_stride) in [(outputs, 1), (1, inputs)] {
                let weights = Weights {
                    data: Values::F32(&matrix),
                    inputs,
                    outputs,
                    input_stride,
                    output_stride,
                };
                let product = Product {
                    terms: &[Term::F32(weights, &x)],
                    bias: Some(&bias),
                    block: 40,
                    threads: 2,
                };
                let shape = Rows {
                    width: outputs,
                    ..shape
                };
                let mut y = vec![0.0; 2 * tokens * outputs];
                product.run(|_, _| {}).unpack_onto(&mut y, shape);
                for (row, y) in rows.chunks(inputs).zip(y.chunks(outputs)) {
                    for (output, y) in y.iter().enumerate() {
                        let sum: f64 = row
                            .iter()
                            .enumerate()
                            .map(|(input, x)| {
                                let index = input * input_stride + output * output_stride;
                                f64::from(*x) * f64::from(matrix[index])
                            })
                            .sum();
                        let expected = sum + f64::from(bias[output]);
                        assert!(
                            (f64::from(*y) - expected).abs() < 1e-4,
                            "{y} for {expected}"
                        );
                    }
                }
            }
        }
    }
}
