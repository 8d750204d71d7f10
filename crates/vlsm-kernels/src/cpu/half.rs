//! Panels in half precision.

use std::borrow::Cow;

use half::f16;
use rayon::prelude::*;

use super::isa::{Isa, dispatch};
use super::panels::{LANES, Lane, Panels, zeros};

/// A [`Lane`] in half precision.
pub(crate) type HalfLane = [u16; LANES];

/// Lanes that one thread converts at a time.
const CHUNK: usize = 1024;

/// Panels that are kept for the backward pass.
#[derive(Debug)]
pub(crate) enum Kept {
    F32(Panels),
    /// Lanes in half precision, and panels without data that say how they are arranged.
    F16(Vec<HalfLane>, Panels),
}

impl Kept {
    /// Keeps panels, in half precision if `half`.
    pub(crate) fn new(mut panels: Panels, half: bool) -> Self {
        if !half {
            return Self::F32(panels);
        }
        let data = std::mem::take(&mut panels.data);
        Self::F16(to_half(&data), panels)
    }

    /// The panels in f32.
    pub(crate) fn get(&self) -> Cow<'_, Panels> {
        match self {
            Self::F32(panels) => Cow::Borrowed(panels),
            Self::F16(lanes, shape) => Cow::Owned(Panels {
                data: from_half(lanes, lanes.len() * LANES),
                ..shape.clone()
            }),
        }
    }
}

/// Rounds values to half precision, in lanes of which the last is padded.
pub(crate) fn to_half(values: &[f32]) -> Vec<HalfLane> {
    let mut half = zeros(values.len().div_ceil(LANES));
    half.par_chunks_mut(CHUNK)
        .zip(values.par_chunks(CHUNK * LANES))
        .for_each(|(to, from)| {
            let (lanes, rest) = from.as_chunks();
            round(lanes, to);
            if let (Some(last), false) = (to.last_mut(), rest.is_empty()) {
                let mut lane = [0.0; LANES];
                lane[..rest.len()].copy_from_slice(rest);
                *last = lane_to_half(&lane);
            }
        });
    half
}

/// The first `count` values of [`to_half`].
pub(crate) fn from_half(half: &[HalfLane], count: usize) -> Vec<f32> {
    let mut values = zeros(half.len() * LANES);
    let (lanes, _) = values.as_chunks_mut();
    lanes
        .par_chunks_mut(CHUNK)
        .zip(half.par_chunks(CHUNK))
        .for_each(|(to, from)| widen(from, to));
    values.truncate(count);
    values
}

dispatch! { fn round(from: &[Lane], to: &mut [HalfLane]) = round_lanes; }

#[inline(always)]
fn round_lanes<I: Isa>(from: &[Lane], to: &mut [HalfLane]) {
    for (from, to) in from.iter().zip(to) {
        *to = I::to_half(from);
    }
}

dispatch! { fn widen(from: &[HalfLane], to: &mut [Lane]) = widen_lanes; }

#[inline(always)]
fn widen_lanes<I: Isa>(from: &[HalfLane], to: &mut [Lane]) {
    for (from, to) in from.iter().zip(to) {
        *to = I::from_half(from);
    }
}

/// [`Isa::to_half`](super::isa::Isa::to_half) in plain arithmetic.
#[inline(always)]
pub(crate) fn lane_to_half(lane: &Lane) -> HalfLane {
    lane.map(|x| f16::from_f32_const(x).to_bits())
}

/// [`Isa::from_half`](super::isa::Isa::from_half) in plain arithmetic.
#[inline(always)]
pub(crate) fn lane_from_half(lane: &HalfLane) -> Lane {
    lane.map(|bits| f16::from_bits(bits).to_f32_const())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

    dispatch! { fn round_on(in set, from: &[Lane], to: &mut [HalfLane]) = round_lanes; }
    dispatch! { fn widen_on(in set, from: &[HalfLane], to: &mut [Lane]) = widen_lanes; }

    #[test]
    fn conversions_are_exact_on_every_instruction_set() {
        // All numbers of half precision, and numbers between them: ties, subnormal ones, and ones that become infinite.
        let exact = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32());
        let between = (0..u32::MAX / 65_537).map(|step| f32::from_bits(step * 65_537));
        let values: Vec<f32> = exact.chain(between).filter(|x| !x.is_nan()).collect();
        let values = &values[..values.len() / LANES * LANES];
        let (lanes, _) = values.as_chunks::<LANES>();
        for set in InstructionSet::available() {
            let mut half = vec![[0; LANES]; lanes.len()];
            round_on(set, lanes, &mut half);
            let mut back = vec![[0.0; LANES]; lanes.len()];
            widen_on(set, &half, &mut back);
            let results = half.as_flattened().iter().zip(back.as_flattened());
            for (x, (bits, back)) in values.iter().zip(results) {
                assert_eq!(*bits, f16::from_f32(*x).to_bits(), "{set}: {x}");
                assert_eq!(*back, f16::from_bits(*bits).to_f32(), "{set}: {x}");
            }
        }
    }
}
