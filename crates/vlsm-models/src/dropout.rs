//! Dropout with random numbers of its own, so that a resumed training repeats them.

use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Dropout (Srivastava et al. 2014): each value is 0 with probability `rate`, else larger by `1 / (1 - rate)`.
pub fn dropout<const D: usize>(x: Tensor<D>, rate: f64, random: &mut ChaCha8Rng) -> Tensor<D> {
    if rate == 0.0 {
        return x;
    }
    let kept = (1.0 / (1.0 - rate)) as f32;
    let values: Vec<f32> = (0..x.shape().num_elements())
        .map(|_| match random.random::<f32>() < rate as f32 {
            true => 0.0,
            false => kept,
        })
        .collect();
    let device = x.device().without_autodiff();
    let mask = TensorData::new(values, x.shape());
    x * Tensor::from_data(mask, &device)
}
