//! From features and text to masks and probabilities.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use rayon::prelude::*;
use vlsm_image::{Fit, Mask, resize_map, resize_mask};

use crate::contract::{HiddenStates, SegmentationModel, select};
use crate::error::{ModelError, Result};
use crate::weights::to_host;

/// A model's answer to a prompt about an image.
///
/// `mask` and `probability` are computed separately. The mask is the one that `vlsm eval` scores: thresholded at the
/// model's output size, then resized by nearest neighbour, as published. The probabilities are resized bilinearly. So along
/// the edge of an object the mask can differ from `probability > 0.5`; for a smoother mask than the published one,
/// threshold `probability` yourself.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The prompt.
    pub prompt: String,
    /// Foreground where the probability is above half, at the image's own size.
    pub mask: Mask,
    /// The probability of foreground, from 0 to 1, `[height, width]` at the image's own size.
    pub probability: Vec<f32>,
}

impl Prediction {
    /// Share of the image that the mask covers, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.mask.foreground() as f64 / self.mask.data.len().max(1) as f64
    }

    /// The probabilities as 8-bit levels, `[height, width]`: 255 is certain.
    pub fn levels(&self) -> Vec<u8> {
        let level = |p: &f32| (p * 255.0).round().clamp(0.0, 255.0) as u8;
        self.probability.iter().map(level).collect()
    }
}

/// Logits `[prompts, side, side]` of prompts about images: row `i` of `text`, the decoder's input for a prompt, is decoded
/// with row `images[i]` of `features`.
///
/// # Errors
/// If `features` or `text` are not the model's.
pub fn logits<M: SegmentationModel>(
    model: &M,
    features: &[Tensor<3>],
    images: &[usize],
    text: HiddenStates,
) -> Result<Tensor<3>> {
    model.decode(&select(features, images), text)
}

/// Masks of logits `[batch, side, side]` of images that became squares by `fit`, each at its own width and height: foreground
/// where the probability is above half, then resized by nearest neighbour, as published.
///
/// # Errors
/// If a logit is infinite or not a number.
pub fn masks(logits: Tensor<3>, sizes: &[(usize, usize)], fit: Fit) -> Result<Vec<Mask>> {
    let masks = threshold(logits)?;
    let masks = masks.par_iter().zip(sizes);
    Ok(masks
        .map(|(mask, size)| {
            let (width, height) = fit.padded_size(*size);
            fit.unpadded_mask(resize_mask(mask, width, height), *size)
        })
        .collect())
}

/// Masks of logits `[batch, height, width]` at their size: foreground where the probability is above half, as published.
///
/// # Errors
/// If a logit is infinite or not a number.
pub fn threshold(logits: Tensor<3>) -> Result<Vec<Mask>> {
    let [_, height, width] = logits.dims();
    let logits = finite(logits)?.into_iter().map(|logit| logit > 0.0);
    let foreground: Vec<bool> = logits.collect();
    Ok(foreground
        .chunks((height * width).max(1))
        .map(|mask| Mask::from_fn(width, height, |x, y| u8::from(mask[y * width + x])))
        .collect())
}

/// The values of logits.
///
/// # Errors
/// If one is infinite or not a number: compared with 0, such a logit would pass for background.
pub(super) fn finite(logits: Tensor<3>) -> Result<Vec<f32>> {
    let logits = to_host(logits);
    match logits.iter().find(|logit| !logit.is_finite()) {
        None => Ok(logits),
        Some(logit) => Err(ModelError::Logits(*logit)),
    }
}

/// Converts logits `[prompts, side, side]` for one image of a width and height to predictions.
pub(super) fn predictions(
    logits: Tensor<3>,
    prompts: &[&str],
    size: (usize, usize),
    fit: Fit,
) -> Result<Vec<Prediction>> {
    let [_, rows, columns] = logits.dims();
    let masks = masks(logits.clone(), &vec![size; prompts.len()], fit)?;
    let (width, height) = fit.padded_size(size);
    let probabilities = to_host(sigmoid(logits));
    Ok(masks
        .into_par_iter()
        .zip(probabilities.par_chunks((rows * columns).max(1)))
        .zip(prompts)
        .map(|((mask, map), prompt)| Prediction {
            prompt: (*prompt).to_owned(),
            mask,
            probability: fit.unpadded(resize_map(map, columns, rows, width, height), size),
        })
        .collect())
}
