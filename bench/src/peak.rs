//! The processor's peak rate of multiply-adds, as a reference for measured speeds.

use std::time::Instant;

use multiversion::multiversion;

/// Independent sums in registers, enough to hide the latency of a multiply-add.
const SUMS: usize = 12 * 8;
/// Multiply-adds per sum and round.
const ROUND: usize = 1 << 18;

/// Floating-point operations per second of all threads together, from multiply-adds without memory access, each counted as two.
/// Best of ten rounds, about 0.1 s in all.
pub(crate) fn multiply_add_peak() -> f64 {
    let threads = rayon::current_num_threads();
    let round = || {
        let started = Instant::now();
        // `broadcast` runs once on each thread; with ordinary tasks one thread sometimes takes them all.
        let total = rayon::broadcast(|_| sums(std::hint::black_box(0.999)));
        std::hint::black_box(total);
        (2 * SUMS * ROUND * threads) as f64 / started.elapsed().as_secs_f64()
    };
    (0..10).map(|_| round()).fold(0.0, f64::max)
}

// Both targets have a fused multiply-add; without one, `mul_add` would be a function call and far below the peak.
#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn sums(factor: f32) -> f32 {
    let mut sums = [1.0f32; SUMS];
    for _ in 0..ROUND {
        for sum in &mut sums {
            *sum = sum.mul_add(factor, 0.001);
        }
    }
    sums.iter().sum()
}
