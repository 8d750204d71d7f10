//! The most that a processor can multiply and add, to hold speeds against.

use std::time::Instant;

use multiversion::multiversion;
use multiversion::target::selected_target;

use crate::cpu::{fuses, multiply_add};

/// Independent sums, in registers: as many as hide the latency of a multiply-add.
const SUMS: usize = 12 * 8;
/// Multiply-adds of each sum in a round.
const ROUND: usize = 1 << 18;

/// Measures how many floating-point operations a second all threads together do in multiply-adds that touch no memory, a
/// multiply-add being two. Takes about a tenth of a second; the best of ten rounds.
pub fn multiply_add_peak() -> f64 {
    let threads = rayon::current_num_threads();
    let round = || {
        let started = Instant::now();
        // Once on each: of tasks that are shared out, one thread sometimes takes all.
        let total = rayon::broadcast(|_| sums(std::hint::black_box(0.999)));
        std::hint::black_box(total);
        (2 * SUMS * ROUND * threads) as f64 / started.elapsed().as_secs_f64()
    };
    (0..10).map(|_| round()).fold(0.0, f64::max)
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn sums(factor: f32) -> f32 {
    const FMA: bool = fuses(selected_target!());
    let mut sums = [1.0f32; SUMS];
    for _ in 0..ROUND {
        for sum in &mut sums {
            *sum = multiply_add::<FMA>(*sum, factor, 0.001);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_processor_does_something() {
        assert!(super::multiply_add_peak() > 1e8);
    }
}
