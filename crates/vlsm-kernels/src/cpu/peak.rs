//! The processor's peak rate of multiply-adds.

use std::time::Instant;

use super::exp::multiply_add;
use super::isa::{Isa, dispatch};
use super::panels::LANES;
use crate::InstructionSet;

/// Multiply-adds per sum and round.
const ROUND: usize = 1 << 17;

impl InstructionSet {
    /// Floating-point operations per second of all threads together, from f32 multiply-adds without memory access, each counted as two.
    /// Best of ten rounds, about 0.1 s in all. 0 if the processor does not have the instruction set.
    pub fn measured_peak(self) -> f64 {
        if !self.is_available() {
            return 0.0;
        }
        let round = || {
            let started = Instant::now();
            // `broadcast` runs once on each thread; with ordinary tasks one thread sometimes takes them all.
            let sums = rayon::broadcast(|_| multiply_adds(self, std::hint::black_box(0.999)));
            let sums: usize = std::hint::black_box(sums)
                .iter()
                .map(|(count, _)| count)
                .sum();
            (2 * sums * ROUND) as f64 / started.elapsed().as_secs_f64()
        };
        (0..10).map(|_| round()).fold(0.0, f64::max)
    }
}

dispatch! {
    /// How many sums there are, and their total.
    fn multiply_adds(in set, factor: f32) -> (usize, f32) = multiply_add_loop;
}

#[inline(always)]
fn multiply_add_loop<I: Isa>(factor: f32) -> (usize, f32) {
    // Enough registers to hide the latency of an addition, and no more than there are.
    match I::TILE {
        8 => sums_of::<I, { 12 * LANES }>(factor),
        _ => sums_of::<I, { 6 * LANES }>(factor),
    }
}

#[inline(always)]
fn sums_of<I: Isa, const COUNT: usize>(factor: f32) -> (usize, f32) {
    let mut sums = [1.0; COUNT];
    for _ in 0..ROUND {
        for sum in &mut sums {
            *sum = multiply_add::<I>(*sum, factor, 0.001);
        }
    }
    (COUNT, sums.iter().sum())
}
