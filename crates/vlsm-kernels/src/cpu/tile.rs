//! The innermost loops: sums of products in tiles that stay in registers.

use multiversion::multiversion;
use multiversion::target::selected_target;

use super::exp::{fuses, multiply_add};
use super::panels::{LANES, Lane};

/// Outputs of a tile: with 16 tokens, twelve of the sixteen AVX registers hold sums.
pub(crate) const TILE: usize = 6;

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
pub(crate) fn tiles(packed: &[f32], x: &[f32], data: &mut [f32]) {
    const FMA: bool = fuses(selected_target!());
    let (x, _) = x.as_chunks::<LANES>();
    let (data, _) = data.as_chunks_mut::<LANES>();
    mix::<FMA>(packed, x, data, add);
}

/// Sums of all tiles: `rows`, `[tile][input][output]`, times `lanes[input]`, passed to `store` by output.
#[inline(always)]
pub(crate) fn mix<const FMA: bool>(
    rows: &[f32],
    lanes: &[Lane],
    to: &mut [Lane],
    store: impl Fn(&mut Lane, &Lane),
) {
    for (rows, to) in rows.chunks(TILE * lanes.len()).zip(to.chunks_mut(TILE)) {
        match to.len() {
            6 => mix_tile::<6, FMA>(rows, lanes, to, &store),
            5 => mix_tile::<5, FMA>(rows, lanes, to, &store),
            4 => mix_tile::<4, FMA>(rows, lanes, to, &store),
            3 => mix_tile::<3, FMA>(rows, lanes, to, &store),
            2 => mix_tile::<2, FMA>(rows, lanes, to, &store),
            _ => mix_tile::<1, FMA>(rows, lanes, to, &store),
        }
    }
}

#[inline(always)]
fn mix_tile<const OUTPUTS: usize, const FMA: bool>(
    rows: &[f32],
    lanes: &[Lane],
    to: &mut [Lane],
    store: &impl Fn(&mut Lane, &Lane),
) {
    let (rows, _) = rows.as_chunks::<OUTPUTS>();
    let sums = tile::<OUTPUTS, OUTPUTS, 0, FMA>(rows, lanes);
    for (lane, sums) in to.iter_mut().zip(&sums) {
        store(lane, sums);
    }
}

/// For [`mix`]: adds the sums to the lane.
#[inline(always)]
pub(crate) fn add(lane: &mut Lane, sums: &Lane) {
    for (y, sum) in lane.iter_mut().zip(sums) {
        *y += sum;
    }
}

/// For [`mix`]: overwrites the lane with the sums.
#[inline(always)]
pub(crate) fn set(lane: &mut Lane, sums: &Lane) {
    *lane = *sums;
}
