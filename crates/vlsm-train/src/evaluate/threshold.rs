//! The threshold of masks with the best Dice on the validation images.

use std::ops::ControlFlow;

use burn::tensor::activation::sigmoid;
use rayon::prelude::*;
use serde::Serialize;
use vlsm_data::Sample;
use vlsm_image::{Mask, resize_map};
use vlsm_models::SegmentationModel;
use vlsm_models::predict::{PromptEncoder, logits};
use vlsm_models::weights::to_host;

use super::batches::ImageBatches;
use super::{EvalConfig, PromptSet};
use crate::error::{Result, TrainError};
use crate::feature_cache::encode_images;

/// Number of thresholds that are compared: 0.05, 0.1, ..., 0.95. A finer grid would fit the few images of a validation split.
const COUNT: usize = 19;

/// A threshold for probabilities at the image's own size, and what it brings on the validation images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Threshold {
    /// The minimum probability of foreground.
    pub value: f32,
    /// Mean Dice on the validation images with it.
    pub val_dice: f64,
    /// The same at one half.
    pub val_dice_at_half: f64,
}

/// The threshold with the best mean Dice, of equals the one nearest to one half. `None` without samples. `progress` is called with
/// the number of samples done, and may stop the work.
///
/// # Errors
/// If a file cannot be read, or `progress` stops the work ([`TrainError::Stopped`]).
pub(crate) fn best_threshold<M: SegmentationModel>(
    model: &M,
    samples: &[Sample],
    set: &PromptSet,
    config: &EvalConfig<'_>,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Threshold>> {
    let side = model.output_size(config.preprocessing.image_size)?;
    let encoder = PromptEncoder::frozen(config.tokenizer)?;
    let mut sums = [0.0; COUNT];
    let mut done = 0;
    for batch in ImageBatches::new(samples, side, config) {
        let batch = batch?;
        let images = batch.distinct();
        let features = encode_images(
            model,
            &images,
            samples,
            config.preprocessing,
            config.features,
        )?;
        let prompts: Vec<&str> = batch
            .examples
            .iter()
            .map(|example| set.prompts[example.sample].as_str())
            .collect();
        let text = encoder.encode(model, &prompts)?;
        let logits = logits(model, &features, &batch.images, text)?;
        let [_, rows, columns] = logits.dims();
        let maps = to_host(sigmoid(logits));
        let maps = maps.par_chunks((rows * columns).max(1));
        let dice: Vec<[f64; COUNT]> = maps
            .zip(&batch.examples)
            .filter_map(|(map, example)| {
                let truth = example.original.as_deref()?;
                let (fit, size) = (config.preprocessing.fit, (truth.width, truth.height));
                let (width, height) = fit.padded_size(size);
                let map = fit.unpadded(resize_map(map, columns, rows, width, height), size);
                Some(dice_at_thresholds(&map, truth))
            })
            .collect();
        for dice in &dice {
            for (sum, dice) in sums.iter_mut().zip(dice) {
                *sum += dice;
            }
        }
        done += batch.examples.len();
        if progress(done).is_break() {
            return Err(TrainError::Stopped);
        }
    }
    if done == 0 {
        return Ok(None);
    }
    let half = COUNT / 2;
    let better = |a: &usize, b: &usize| {
        let nearer = b.abs_diff(half).cmp(&a.abs_diff(half));
        sums[*a].total_cmp(&sums[*b]).then(nearer)
    };
    let best = (0..COUNT).max_by(better).unwrap_or(half);
    Ok(Some(Threshold {
        value: threshold(best),
        val_dice: sums[best] / done as f64,
        val_dice_at_half: sums[half] / done as f64,
    }))
}

/// The threshold of an index, a multiple of 0.05.
fn threshold(index: usize) -> f32 {
    (index + 1) as f32 / (COUNT + 1) as f32
}

/// Dice of the masks of each threshold, in one pass over the pixels.
fn dice_at_thresholds(map: &[f32], truth: &Mask) -> [f64; COUNT] {
    let thresholds: [f32; COUNT] = std::array::from_fn(threshold);
    // Pixels by the number of thresholds that they reach: all, and those of the object.
    let (mut all, mut inside) = ([0usize; COUNT + 1], [0usize; COUNT + 1]);
    for (probability, truth) in map.iter().zip(&truth.data) {
        if *truth == Mask::IGNORE {
            continue;
        }
        let reached = thresholds.partition_point(|threshold| threshold <= probability);
        all[reached] += 1;
        inside[reached] += usize::from(*truth == 1);
    }
    let object: usize = inside.iter().sum();
    std::array::from_fn(|index| {
        let predicted: usize = all[index + 1..].iter().sum();
        let both: usize = inside[index + 1..].iter().sum();
        match predicted + object {
            0 => 1.0,
            sum => 2.0 * both as f64 / sum as f64,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vlsm_data::dice;

    #[test]
    fn dice_of_each_threshold_is_that_of_its_mask() {
        let (width, height) = (13, 11);
        let map: Vec<f32> = (0..width * height)
            .map(|index| (index * 37 % 101) as f32 / 100.0)
            .collect();
        let truths = [
            Mask::from_fn(width, height, |x, y| u8::from((x + y) % 3 == 0)),
            Mask::from_fn(width, height, |x, _| {
                if x < 3 { Mask::IGNORE } else { u8::from(x > 7) }
            }),
            Mask::empty(width, height),
        ];
        for truth in &truths {
            let all = dice_at_thresholds(&map, truth);
            for (index, found) in all.into_iter().enumerate() {
                let mask = Mask::from_probabilities(width, height, &map, threshold(index)).unwrap();
                assert_eq!(found, dice(&mask, truth).unwrap(), "{index}");
            }
        }
        assert_eq!(
            dice_at_thresholds(&[0.0; 4], &Mask::empty(2, 2)),
            [1.0; COUNT]
        );
        assert_eq!(
            (threshold(0), threshold(9), threshold(18)),
            (0.05, 0.5, 0.95)
        );
    }
}
