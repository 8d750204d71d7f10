//! Fused operations with hand-written backward passes for frozen vision-language models.

use burn::tensor::{Tensor, activation};

/// `x * sigmoid(1.702 x)`, the activation of OpenAI's CLIP (Hendrycks and Gimpel 2016).
///
/// Any shape to the same shape.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * activation::sigmoid(x * 1.702)
}
