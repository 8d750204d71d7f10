//! From logits to masks.

use burn::tensor::Tensor;
use vlsm_image::Mask;

use crate::weights::to_host;

/// Binary masks of logits `[batch, height, width]`: foreground where the probability is above half,
/// as published.
pub fn threshold(logits: Tensor<3>) -> Vec<Mask> {
    let [_, height, width] = logits.dims();
    to_host(logits)
        .chunks((height * width).max(1))
        .map(|logits| Mask::from_fn(width, height, |x, y| u8::from(logits[y * width + x] > 0.0)))
        .collect()
}
