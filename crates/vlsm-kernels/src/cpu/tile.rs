//! The innermost loops: sums of products in tiles that stay in registers.

use super::isa::{Isa, dispatch};
use super::panels::{LANES, Lane};

/// Tiles over arrays, which the compiler turns into vectors of eight values (AVX2) or four (NEON, SSE).
pub(super) mod array {
    use super::super::exp::multiply_add;
    use super::{Isa, LANES, Lane};

    /// Outputs of a tile: with 16 tokens, twelve of the sixteen AVX registers hold sums.
    pub(crate) const TILE: usize = 6;

    /// [`Isa::mix`](super::Isa::mix) for one panel.
    #[inline(always)]
    pub(crate) fn mix<I: Isa, const ADD: bool>(rows: &[f32], lanes: &[Lane], to: &mut [Lane]) {
        let (rows, _) = rows.as_chunks::<TILE>();
        for (rows, to) in rows.chunks(lanes.len()).zip(to.chunks_mut(TILE)) {
            write::<ADD, _>(to, &tile::<I, TILE, TILE, 0>(rows, lanes));
        }
    }

    /// [`Isa::dot`](super::Isa::dot) for one panel.
    #[inline(always)]
    pub(crate) fn dot<I: Isa, const ADD: bool>(rows: &[Lane], lanes: &[Lane], to: &mut [Lane]) {
        let (a, rest) = to.split_at_mut(TILE.min(to.len()));
        let (b, c) = rest.split_at_mut(TILE.min(rest.len()));
        write::<ADD, _>(a, &tile::<I, TILE, LANES, 0>(rows, lanes));
        write::<ADD, _>(b, &tile::<I, TILE, LANES, TILE>(rows, lanes));
        write::<ADD, _>(c, &tile::<I, 4, LANES, { 2 * TILE }>(rows, lanes));
    }

    /// See [`Isa::transpose`](super::Isa::transpose).
    #[inline(always)]
    pub(crate) fn transpose(from: &[Lane; LANES], to: &mut [Lane; LANES]) {
        for (column, lane) in to.iter_mut().enumerate() {
            for (x, row) in lane.iter_mut().zip(from) {
                *x = row[column];
            }
        }
    }

    /// `rows[input][FIRST + output] * lanes[input]`, summed over the inputs.
    #[inline(always)]
    fn tile<I: Isa, const OUTPUTS: usize, const ROW: usize, const FIRST: usize>(
        rows: &[[f32; ROW]],
        lanes: &[Lane],
    ) -> [Lane; OUTPUTS] {
        let mut sums = [[0.0; LANES]; OUTPUTS];
        for (row, lane) in rows.iter().zip(lanes) {
            for output in 0..OUTPUTS {
                for token in 0..LANES {
                    sums[output][token] =
                        multiply_add::<I>(row[FIRST + output], lane[token], sums[output][token]);
                }
            }
        }
        sums
    }

    /// Adds the sums to lanes, of which there may be fewer, or overwrites them.
    #[inline(always)]
    fn write<const ADD: bool, const OUTPUTS: usize>(to: &mut [Lane], sums: &[Lane; OUTPUTS]) {
        match to.first_chunk_mut::<OUTPUTS>() {
            // Indices that the compiler knows, so that the sums stay in registers.
            Some(to) => {
                for output in 0..OUTPUTS {
                    for token in 0..LANES {
                        let (y, sum) = (&mut to[output][token], sums[output][token]);
                        *y = if ADD { *y + sum } else { sum };
                    }
                }
            }
            None => write_few::<ADD>(to, sums),
        }
    }

    /// Apart from whole tiles: the compiler would make one loop of both.
    #[cold]
    #[inline(never)]
    fn write_few<const ADD: bool>(to: &mut [Lane], sums: &[Lane]) {
        for (lane, sums) in to.iter_mut().zip(sums) {
            for (y, sum) in lane.iter_mut().zip(sums) {
                *y = if ADD { *y + sum } else { *sum };
            }
        }
    }
}

dispatch! {
    /// Adds the product of packed weights and a panel to a panel.
    pub(crate) fn add_panel(packed: &[f32], x: &[f32], to: &mut [f32]) = add_one;
}

#[inline(always)]
fn add_one<I: Isa>(packed: &[f32], x: &[f32], to: &mut [f32]) {
    let (x, to) = (x.as_chunks().0, to.as_chunks_mut().0);
    I::mix::<1, true>(packed, [x], [to]);
}

dispatch! {
    /// Adds the products of packed weights and two panels to two panels.
    pub(crate) fn add_panels(packed: &[f32], x: [&[f32]; 2], to: [&mut [f32]; 2]) = add_two;
}

#[inline(always)]
fn add_two<I: Isa>(packed: &[f32], x: [&[f32]; 2], to: [&mut [f32]; 2]) {
    let x = x.map(|x| x.as_chunks().0);
    I::mix::<2, true>(packed, x, to.map(|to| to.as_chunks_mut().0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

    dispatch! {
        fn mix(in set, rows: &[f32], lanes: [&[Lane]; 2], to: [&mut [Lane]; 2], add: bool) = mix_both;
    }

    #[inline(always)]
    fn mix_both<I: Isa>(rows: &[f32], lanes: [&[Lane]; 2], to: [&mut [Lane]; 2], add: bool) {
        let ([a, b], [to_a, to_b]) = (lanes, to);
        match (add, b.is_empty()) {
            (true, true) => I::mix::<1, true>(rows, [a], [to_a]),
            (true, false) => I::mix::<2, true>(rows, [a, b], [to_a, to_b]),
            (false, true) => I::mix::<1, false>(rows, [a], [to_a]),
            (false, false) => I::mix::<2, false>(rows, [a, b], [to_a, to_b]),
        }
    }

    dispatch! {
        fn dot(in set, rows: &[Lane], lanes: [&[Lane]; 2], to: [&mut [Lane]; 2], add: bool) = dot_both;
    }

    #[inline(always)]
    fn dot_both<I: Isa>(rows: &[Lane], lanes: [&[Lane]; 2], to: [&mut [Lane]; 2], add: bool) {
        let ([a, b], [to_a, to_b]) = (lanes, to);
        match (add, b.is_empty()) {
            (true, true) => I::dot::<1, true>(rows, [a], [to_a]),
            (true, false) => I::dot::<2, true>(rows, [a, b], [to_a, to_b]),
            (false, true) => I::dot::<1, false>(rows, [a], [to_a]),
            (false, false) => I::dot::<2, false>(rows, [a, b], [to_a, to_b]),
        }
    }

    dispatch! {
        fn outputs_of_tile(in set,) -> usize = tile_outputs;
    }

    #[inline(always)]
    fn tile_outputs<I: Isa>() -> usize {
        I::TILE
    }

    dispatch! {
        fn transpose(in set, from: &[Lane; LANES], to: &mut [Lane; LANES]) = transpose_block;
    }

    #[inline(always)]
    fn transpose_block<I: Isa>(from: &[Lane; LANES], to: &mut [Lane; LANES]) {
        I::transpose(from, to);
    }

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
        (0..count).map(number).collect()
    }

    /// The plain sums of `weights[input * outputs + output] * lanes[input]`, in f64.
    fn plain(weights: &[f32], outputs: usize, lanes: &[Lane]) -> Vec<[f64; LANES]> {
        let sum = |output, token: usize| {
            let products = lanes.iter().enumerate().map(|(input, lane)| {
                f64::from(weights[input * outputs + output]) * f64::from(lane[token])
            });
            products.sum()
        };
        let lane = |output| std::array::from_fn(|token| sum(output, token));
        (0..outputs).map(lane).collect()
    }

    /// Every instruction set gives the plain sums, and those with a fused multiply-add the same bits.
    #[test]
    fn products_are_plain_sums() {
        let sizes = [
            (1, 1),
            (5, 3),
            (8, 6),
            (16, 16),
            (17, 13),
            (64, 64),
            (257, 29),
        ];
        for (inputs, outputs) in sizes {
            let weights = numbers(inputs * outputs, 1);
            let values = numbers(2 * inputs * LANES, 2);
            let before = numbers(2 * outputs * LANES, 3);
            let (lanes, _) = values.as_chunks::<LANES>();
            for (panels, add) in [(1, false), (1, true), (2, false), (2, true)] {
                let lanes = [&lanes[..inputs], &lanes[inputs..panels * inputs]];
                let mut fused: Option<Vec<f32>> = None;
                for set in InstructionSet::available() {
                    let tile = outputs_of_tile(set);
                    let mut rows = vec![0.0; outputs.next_multiple_of(tile) * inputs];
                    for (index, weight) in weights.iter().enumerate() {
                        let (input, output) = (index / outputs, index % outputs);
                        let row = output / tile * inputs + input;
                        rows[row * tile + output % tile] = *weight;
                    }
                    let mut results = before.clone();
                    let (to, _) = results.as_chunks_mut::<LANES>();
                    let (a, b) = to.split_at_mut(outputs);
                    mix(set, &rows, lanes, [a, b], add);
                    for (panel, lanes) in lanes.into_iter().take(panels).enumerate() {
                        let sums = plain(&weights, outputs, lanes);
                        let part = panel * outputs * LANES..;
                        let sums = sums.as_flattened().iter();
                        let all = results[part.clone()].iter().zip(&before[part]);
                        for ((y, before), sum) in all.zip(sums) {
                            let expected = sum + if add { f64::from(*before) } else { 0.0 };
                            let error = (f64::from(*y) - expected).abs();
                            assert!(error < 1e-4, "{set}: {y} for {expected}");
                        }
                    }
                    if outputs <= LANES {
                        let mut rows = vec![[0.0; LANES]; inputs];
                        for (row, weights) in rows.iter_mut().zip(weights.chunks(outputs)) {
                            row[..outputs].copy_from_slice(weights);
                        }
                        let mut others = before.clone();
                        let (to, _) = others.as_chunks_mut::<LANES>();
                        let (a, b) = to.split_at_mut(outputs);
                        dot(set, &rows, lanes, [a, b], add);
                        assert_eq!(others, results, "{set}");
                    }
                    if set != InstructionSet::Portable {
                        let fused = fused.get_or_insert_with(|| results.clone());
                        assert_eq!(*fused, results, "{set}");
                    }
                }
            }
        }
    }

    #[test]
    fn transposed_blocks() {
        let from: [Lane; LANES] =
            std::array::from_fn(|row| std::array::from_fn(|column| (row * 100 + column) as f32));
        for set in InstructionSet::available() {
            let mut to = [[0.0; LANES]; LANES];
            transpose(set, &from, &mut to);
            for (column, lane) in to.iter().enumerate() {
                for (row, x) in lane.iter().enumerate() {
                    assert_eq!(*x, from[row][column], "{set}");
                }
            }
        }
    }
}
