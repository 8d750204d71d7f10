//! The recognition branch: CLIP's embedding of each mask.

use burn::tensor::Tensor;

use crate::clip::{Clip, unit_length};
use crate::methods::{Adaptation, Tower};

/// Embeds each query's mask with the last layers of CLIP's vision tower.
///
/// A copy of the class token for each query runs through the layers and attends to itself and the patches, led by its mask:
/// `biases` `[batch, heads, queries, patches]` are added to the scores. Patches and class token do not attend to the
/// copies, so that `inputs`, what enters each of the layers, each `[batch, 1 + patches, width]`, are those of CLIP itself.
/// (The published code runs all tokens in one sequence and adds -100 to the scores that are not to count; it comes to the
/// same.) Embeddings `[batch, queries, projection]` have length 1.
pub(super) fn recognise(
    clip: &Clip,
    first: usize,
    inputs: &[Tensor<3>],
    biases: Tensor<4>,
    method: &dyn Adaptation,
) -> Tensor<3> {
    let [batch, _, queries, patches] = biases.dims();
    let layers = &clip.vision_model.layers()[first..];
    let [_, _, width] = inputs[0].dims();
    let class = inputs[0].clone().narrow(1, 0, 1);
    let start = class.expand([batch, queries, width]);
    let tokens =
        layers
            .iter()
            .zip(inputs)
            .enumerate()
            .fold(start, |tokens, (index, (layer, input))| {
                let memory = input.clone().narrow(1, 1, patches);
                let adapters = method.layer(Tower::Vision, first + index);
                layer.forward_reading(tokens, memory, biases.clone(), adapters)
            });
    let tokens = clip.vision_model.normalise_class(tokens);
    unit_length(clip.visual_projection.forward(tokens))
}
