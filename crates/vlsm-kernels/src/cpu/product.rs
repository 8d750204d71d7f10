//! Products of weights and tokens.

use std::cell::RefCell;

use rayon::prelude::*;

use super::panels::{LANES, Panels};
use super::tile::{TILE, tiles};

/// Inputs that a tile sums over at a time: their 6 + 16 values each stay in the L1 cache.
const DEPTH: usize = 256;
/// Inputs for which weights are packed at a time, as many as fit in the L2 cache with [`BLOCK`] outputs.
const GROUP: usize = 768;
/// Outputs of a task, and the features in a block of its result.
pub(crate) const BLOCK: usize = 192;

/// A matrix of weights with any strides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Offset from an input's weights to the next input's.
    pub(crate) input_stride: usize,
    /// Offset from an output's weights to the next output's.
    pub(crate) output_stride: usize,
}

impl Weights<'_> {
    /// The transposed matrix, by which gradients are multiplied.
    pub(crate) fn transposed(self) -> Self {
        Self {
            inputs: self.outputs,
            outputs: self.inputs,
            input_stride: self.output_stride,
            output_stride: self.input_stride,
            ..self
        }
    }
}

/// A linear layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) bias: &'a [f32],
}

/// Which panel of a result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelIndex {
    pub(crate) block: usize,
    pub(crate) panel: usize,
}

/// A product of weights and tokens, or a sum of several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) terms: &'a [(Weights<'a>, &'a Panels)],
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
        let (outputs, count) = (self.terms[0].0.outputs, self.terms[0].1.count);
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
                for (weights, x) in self.terms {
                    add_term(*weights, x, first, features, index.panel, data);
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
    /// Weights in the order in which [`tiles`] reads them.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Adds one term to the panels from `first_panel` on of some outputs, `data`: `[panel][output][token]`.
fn add_term(
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
            packed.resize(packed.len().max(depth * outputs), 0.0);
            let mut rest = &mut packed[..];
            for (block, start, depth) in now {
                let part;
                (part, rest) = rest.split_at_mut(depth * outputs);
                pack(
                    weights,
                    block * x.block + start,
                    *depth,
                    first_output,
                    outputs,
                    part,
                );
            }
            for (panel, data) in data.chunks_mut(outputs * LANES).enumerate() {
                let mut rest = &packed[..];
                for (block, start, depth) in now {
                    let part;
                    (part, rest) = rest.split_at(depth * outputs);
                    let x = x.panel(*block, first_panel + panel);
                    let x = &x[start * LANES..][..depth * LANES];
                    tiles(part, x, data);
                }
            }
        }
    });
}

/// Weights to `[tile][input][output]`, the last tile with fewer outputs.
fn pack(
    weights: Weights<'_>,
    first_input: usize,
    inputs: usize,
    first_output: usize,
    outputs: usize,
    packed: &mut [f32],
) {
    for (tile, packed) in packed.chunks_mut(TILE * inputs).enumerate() {
        let first = first_output + tile * TILE;
        let width = TILE.min(first_output + outputs - first);
        let data =
            &weights.data[first_input * weights.input_stride + first * weights.output_stride..];
        if weights.output_stride == 1 && width == TILE {
            // The compiler knows the length: a call to copy 24 bytes would take longer than the copy.
            let (packed, _) = packed.as_chunks_mut::<TILE>();
            for (packed, row) in packed.iter_mut().zip(data.chunks(weights.input_stride)) {
                if let Some(row) = row.first_chunk() {
                    *packed = *row;
                }
            }
        } else if weights.input_stride == 1 && width == TILE {
            let columns: [&[f32]; TILE] =
                std::array::from_fn(|output| &data[output * weights.output_stride..][..inputs]);
            interleave(columns, packed);
        } else {
            for output in 0..width {
                let column = data[output * weights.output_stride..]
                    .iter()
                    .step_by(weights.input_stride);
                for (packed, weight) in packed[output..].iter_mut().step_by(width).zip(column) {
                    *packed = *weight;
                }
            }
        }
    }
}

/// Columns, the weights of one output each, to `[input][output]`; some inputs at a time, so that writes stay in the L1 cache.
fn interleave(columns: [&[f32]; TILE], packed: &mut [f32]) {
    const INPUTS: usize = 16;
    let whole = columns.map(|column| column.as_chunks::<INPUTS>());
    let (packed, packed_rest) = packed.as_chunks_mut::<{ TILE * INPUTS }>();
    for (chunk, packed) in packed.iter_mut().enumerate() {
        for (output, (chunks, _)) in whole.iter().enumerate() {
            for (input, weight) in chunks[chunk].iter().enumerate() {
                packed[input * TILE + output] = *weight;
            }
        }
    }
    for (output, (_, rest)) in whole.iter().enumerate() {
        for (input, weight) in rest.iter().enumerate() {
            packed_rest[input * TILE + output] = *weight;
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
                    data: &matrix,
                    inputs,
                    outputs,
                    input_stride,
                    output_stride,
                };
                let product = Product {
                    terms: &[(weights, &x)],
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
