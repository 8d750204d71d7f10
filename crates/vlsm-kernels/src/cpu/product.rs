//! Products of weights and tokens.

use std::cell::RefCell;

use multiversion::multiversion;
use multiversion::target::selected_target;
use rayon::prelude::*;

use super::exp::{fuses, multiply_add};
use super::panels::{LANES, Lane, Panels};

/// Outputs that one tile computes: with 16 tokens, twelve of the sixteen AVX registers are sums.
pub(crate) const TILE: usize = 6;
/// Inputs that a tile goes through: its 6 + 16 numbers for each stay in the first cache.
const DEPTH: usize = 256;
/// Inputs for which weights are packed at a time, as many as go into the second cache with [`BLOCK`] outputs.
const GROUP: usize = 768;
/// Outputs of a task, and the features in a block of its result.
pub(crate) const BLOCK: usize = 192;

/// A matrix of weights, in any order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Places between an input's weights and the next one's.
    pub(crate) input_stride: usize,
    /// Places between an output's weights and the next one's.
    pub(crate) output_stride: usize,
}

impl Weights<'_> {
    /// The same matrix the other way, as gradients go through it.
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

/// Where a part of a result stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
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
    /// Threads that have nothing else to do.
    pub(crate) threads: usize,
}

impl Product<'_> {
    /// [`run_beside`](Self::run_beside) with nothing beside.
    pub(crate) fn run(self, finish: impl Fn(Place, &mut [f32]) + Sync) -> Panels {
        self.run_beside::<()>(None, |place, part, _| finish(place, part))
    }

    /// The sum of `weights^T x` over the terms, and the bias; `finish` is called with each panel of each block of the result as
    /// soon as it is complete, and the same part of `beside`, which has a place for each lane of the result.
    ///
    /// Each number is summed in the same order whatever else is computed, so that an image's result does not depend on its
    /// batch nor on the number of threads.
    pub(crate) fn run_beside<T: Send>(
        self,
        beside: Option<&mut [T]>,
        finish: impl Fn(Place, &mut [f32], Option<&mut [T]>) + Sync,
    ) -> Panels {
        let (outputs, count) = (self.terms[0].0.outputs, self.terms[0].1.count);
        let mut result = Panels::zeros(outputs, self.block, count);
        let blocks = outputs.div_ceil(self.block);
        // Weights are packed anew for each range of panels: few ranges, but enough tasks for all threads to end together.
        let ranges = (4 * self.threads).div_ceil(blocks);
        let range = count.div_ceil(ranges).max(8);
        let mut tasks = Vec::new();
        let mut beside = beside.map(|beside| beside.chunks_mut(self.block * count));
        for (index, data) in result
            .data
            .chunks_mut(self.block * count * LANES)
            .enumerate()
        {
            let features = data.len() / (count * LANES);
            let mut other = beside
                .as_mut()
                .and_then(Iterator::next)
                .map(|data| data.chunks_mut(range * features));
            for (part, data) in data.chunks_mut(range * features * LANES).enumerate() {
                let place = Place {
                    block: index,
                    panel: part * range,
                };
                let other = other.as_mut().and_then(Iterator::next);
                tasks.push((place, features, data, other));
            }
        }
        tasks
            .into_par_iter()
            .for_each(|(place, features, data, mut other)| {
                let first = place.block * self.block;
                // Without one the result starts as it was made, at 0.
                if let Some(bias) = self.bias {
                    let (lanes, _) = data.as_chunks_mut::<LANES>();
                    for panel in lanes.chunks_mut(features) {
                        for (lane, bias) in panel.iter_mut().zip(&bias[first..]) {
                            *lane = [*bias; LANES];
                        }
                    }
                }
                for (weights, x) in self.terms {
                    add_term(*weights, x, first, features, place.panel, data);
                }
                for (panel, data) in data.chunks_mut(features * LANES).enumerate() {
                    let place = Place {
                        panel: place.panel + panel,
                        ..place
                    };
                    let other = other
                        .as_deref_mut()
                        .map(|other| &mut other[panel * features..][..features]);
                    finish(place, data, other);
                }
            });
        result
    }
}

thread_local! {
    /// Weights as [`tiles`] wants them.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Adds one term to the panels of some outputs, `data`: `[panel][output][token]`, the first of which is `first_panel`.
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
            // Of a length that the compiler knows: a call to copy 24 bytes takes longer than the copy.
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

/// Columns, each of an output's weights, to `[input][output]`; some inputs at a time, that what is written stays near.
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

/// The sums of one tile: `rows[input][FIRST + output] * lanes[input][token]` over the inputs.
#[inline(always)]
pub(crate) fn tile<const OUTPUTS: usize, const ROW: usize, const FIRST: usize, const FMA: bool>(
    rows: &[[f32; ROW]],
    lanes: &[Lane],
) -> [Lane; OUTPUTS] {
    let mut sums = [[0.0; LANES]; OUTPUTS];
    for (row, lane) in rows.iter().zip(lanes) {
        for output in 0..OUTPUTS {
            for token in 0..LANES {
                sums[output][token] =
                    multiply_add::<FMA>(row[FIRST + output], lane[token], sums[output][token]);
            }
        }
    }
    sums
}

/// Adds the product of packed weights and a panel to a panel.
#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn tiles(packed: &[f32], x: &[f32], data: &mut [f32]) {
    const FMA: bool = fuses(selected_target!());
    let (x, _) = x.as_chunks::<LANES>();
    let (data, _) = data.as_chunks_mut::<LANES>();
    mix::<FMA>(packed, x, data, add);
}

/// Sums of all tiles: `rows`, `[tile][input][output]`, times `lanes[input]`, given to `put` by output.
#[inline(always)]
pub(crate) fn mix<const FMA: bool>(
    rows: &[f32],
    lanes: &[Lane],
    to: &mut [Lane],
    put: impl Fn(&mut Lane, &Lane),
) {
    for (rows, to) in rows.chunks(TILE * lanes.len()).zip(to.chunks_mut(TILE)) {
        match to.len() {
            6 => mix_tile::<6, FMA>(rows, lanes, to, &put),
            5 => mix_tile::<5, FMA>(rows, lanes, to, &put),
            4 => mix_tile::<4, FMA>(rows, lanes, to, &put),
            3 => mix_tile::<3, FMA>(rows, lanes, to, &put),
            2 => mix_tile::<2, FMA>(rows, lanes, to, &put),
            _ => mix_tile::<1, FMA>(rows, lanes, to, &put),
        }
    }
}

#[inline(always)]
fn mix_tile<const OUTPUTS: usize, const FMA: bool>(
    rows: &[f32],
    lanes: &[Lane],
    to: &mut [Lane],
    put: &impl Fn(&mut Lane, &Lane),
) {
    let (rows, _) = rows.as_chunks::<OUTPUTS>();
    let sums = tile::<OUTPUTS, OUTPUTS, 0, FMA>(rows, lanes);
    for (lane, sums) in to.iter_mut().zip(&sums) {
        put(lane, sums);
    }
}

/// For [`mix`]: adds the sums to what is there.
#[inline(always)]
pub(crate) fn add(lane: &mut Lane, sums: &Lane) {
    for (y, sum) in lane.iter_mut().zip(sums) {
        *y += sum;
    }
}

/// For [`mix`]: puts the sums in place of what is there.
#[inline(always)]
pub(crate) fn set(lane: &mut Lane, sums: &Lane) {
    *lane = *sums;
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

    /// Sizes around every border: tiles, blocks, depth, group, panels.
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
                                let place = input * input_stride + output * output_stride;
                                f64::from(*x) * f64::from(matrix[place])
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
