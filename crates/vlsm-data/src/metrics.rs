//! Metrics of a predicted mask against the ground truth: Dice, IoU, HD95.
//!
//! All are per image, at the size of the given masks, and equal MONAI's where MONAI defines them.

use serde::{Deserialize, Serialize};

use crate::edt::squared_distances;
use crate::error::{DataError, Result};
use vlsm_image::Mask;

/// The percentile of HD95.
pub const HD95: f64 = 95.0;

/// Metrics of one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// `2 |P and T| / (|P| + |T|)`; 1 if both are empty.
    pub dice: f64,
    /// `|P and T| / |P or T|`; 1 if both are empty.
    pub iou: f64,
    /// [`hausdorff`] at the 95th percentile, in pixels; 0 if both are empty, the image's diagonal if one is.
    pub hd95: f64,
    /// Whether exactly one of the two masks is empty, so that `hd95` is the image's diagonal.
    pub one_empty: bool,
}

/// Scores a predicted mask against the ground truth. Pixels that the ground truth ignores are removed from both.
///
/// # Errors
/// [`DataError::Shape`] if the two differ in size.
pub fn score(pred: &Mask, truth: &Mask) -> Result<Scores> {
    let pair = Pair::new(pred, truth)?;
    let (pred, truth, both) = pair.counts();
    let ratio = |part: usize, whole: usize| {
        if whole == 0 {
            1.0
        } else {
            part as f64 / whole as f64
        }
    };
    Ok(Scores {
        dice: ratio(2 * both, pred + truth),
        iou: ratio(both, pred + truth - both),
        hd95: pair.hausdorff(HD95),
        one_empty: (pred == 0) != (truth == 0),
    })
}

/// [`Scores::dice`] of two masks without the cost of HD95, for monitoring during training.
///
/// # Errors
/// [`DataError::Shape`] if the two differ in size.
pub fn dice(pred: &Mask, truth: &Mask) -> Result<f64> {
    let (pred, truth, both) = Pair::new(pred, truth)?.counts();
    Ok(if pred + truth == 0 {
        1.0
    } else {
        2.0 * both as f64 / (pred + truth) as f64
    })
}

/// Hausdorff distance of two masks in pixels, at a percentile from 0 to 100, as MONAI's
/// `compute_hausdorff_distance(percentile=...)` with the Euclidean distance and `directed=False`.
///
/// The edge of a mask is the mask without its erosion by a cross; outside the image is background. For each edge pixel of
/// one mask, the distance to the nearest edge pixel of the other is computed. The percentile of these distances is linear
/// between neighbours. The result is the larger of the two directions. It is 0 if both masks are empty, and the image's
/// diagonal `sqrt(width^2 + height^2)` if exactly one is. Pixels that the ground truth ignores are background in both.
///
/// # Errors
/// [`DataError::Shape`] if the two differ in size, or if the percentile is not from 0 to 100.
pub fn hausdorff(pred: &Mask, truth: &Mask, percentile: f64) -> Result<f64> {
    if !(0.0..=100.0).contains(&percentile) {
        return Err(DataError::Shape {
            what: "hausdorff",
            reason: format!("percentile {percentile} is out of range; use 0 to 100"),
        });
    }
    Ok(Pair::new(pred, truth)?.hausdorff(percentile))
}

/// Two masks of the same size without ignored pixels.
struct Pair {
    width: usize,
    height: usize,
    pred: Vec<bool>,
    truth: Vec<bool>,
}

impl Pair {
    fn new(pred: &Mask, truth: &Mask) -> Result<Self> {
        let (width, height) = (truth.width, truth.height);
        let pixels = width * height;
        if (pred.width, pred.height) != (width, height)
            || pred.data.len() != pixels
            || truth.data.len() != pixels
        {
            let reason = format!(
                "prediction is {}x{} ({} values), truth is {width}x{height} ({} values); resize the prediction",
                pred.width,
                pred.height,
                pred.data.len(),
                truth.data.len()
            );
            return Err(DataError::Shape {
                what: "score",
                reason,
            });
        }
        let known = |(&p, &t): (&u8, &u8)| p == 1 && t != Mask::IGNORE;
        Ok(Self {
            width,
            height,
            pred: pred.data.iter().zip(&truth.data).map(known).collect(),
            truth: truth.data.iter().map(|&t| t == 1).collect(),
        })
    }

    /// Number of foreground pixels in the prediction, in the ground truth, and in both.
    fn counts(&self) -> (usize, usize, usize) {
        let count = |mask: &[bool]| mask.iter().filter(|&&v| v).count();
        let both = self
            .pred
            .iter()
            .zip(&self.truth)
            .filter(|(p, t)| **p && **t)
            .count();
        (count(&self.pred), count(&self.truth), both)
    }

    fn hausdorff(&self, percentile: f64) -> f64 {
        let boxes = [&self.pred, &self.truth].map(|mask| Bounds::of(mask, self.width));
        let bounds = match boxes {
            [Some(pred), Some(truth)] => pred.union(truth),
            [None, None] => return 0.0,
            _ => return (self.width as f64).hypot(self.height as f64),
        };
        // All edge pixels are inside the bounding box of both masks, so cropping to it does not change the result.
        let (width, height) = bounds.size();
        let [pred, truth] = [&self.pred, &self.truth]
            .map(|mask| edges(&bounds.crop(mask, self.width), width, height));
        let directed = |from: &[bool], to: &[bool]| {
            let squared = squared_distances(to, width, height);
            let at_edges = from
                .iter()
                .zip(squared)
                .filter(|(edge, _)| **edge)
                .map(|(_, squared)| squared);
            percentile_of_roots(at_edges.collect(), percentile)
        };
        directed(&pred, &truth).max(directed(&truth, &pred))
    }
}

/// A box of pixels; the ends are exclusive.
#[derive(Clone, Copy)]
struct Bounds {
    x: (usize, usize),
    y: (usize, usize),
}

impl Bounds {
    /// The bounding box of a mask's foreground; `None` if it is empty.
    fn of(mask: &[bool], width: usize) -> Option<Self> {
        let mut bounds: Option<Self> = None;
        for (y, row) in mask.chunks_exact(width.max(1)).enumerate() {
            let Some(first) = row.iter().position(|&v| v) else {
                continue;
            };
            let last = row.iter().rposition(|&v| v).unwrap_or(first);
            let here = Self {
                x: (first, last + 1),
                y: (y, y + 1),
            };
            bounds = Some(bounds.map_or(here, |bounds| bounds.union(here)));
        }
        bounds
    }

    fn union(self, other: Self) -> Self {
        let span = |a: (usize, usize), b: (usize, usize)| (a.0.min(b.0), a.1.max(b.1));
        Self {
            x: span(self.x, other.x),
            y: span(self.y, other.y),
        }
    }

    fn size(&self) -> (usize, usize) {
        (self.x.1 - self.x.0, self.y.1 - self.y.0)
    }

    fn crop(&self, mask: &[bool], width: usize) -> Vec<bool> {
        let rows = (self.y.0..self.y.1).map(|y| &mask[y * width + self.x.0..y * width + self.x.1]);
        rows.flatten().copied().collect()
    }
}

/// The mask without its erosion by a cross: foreground pixels with a 4-neighbour that is background or outside.
fn edges(mask: &[bool], width: usize, height: usize) -> Vec<bool> {
    let mut edges = vec![false; mask.len()];
    for y in 0..height {
        for x in 0..width {
            let at = y * width + x;
            let inner = x > 0
                && y > 0
                && x + 1 < width
                && y + 1 < height
                && mask[at - 1]
                && mask[at + 1]
                && mask[at - width]
                && mask[at + width];
            edges[at] = mask[at] && !inner;
        }
    }
    edges
}

/// Percentile of the square roots, linear between neighbours like `numpy.percentile` and `torch.quantile`.
fn percentile_of_roots(mut squared: Vec<u32>, percentile: f64) -> f64 {
    let Some(last) = squared.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = last as f64 * percentile / 100.0;
    let (_, low, above) = squared.select_nth_unstable((rank as usize).min(last));
    let low = f64::from(*low).sqrt();
    let high = above
        .iter()
        .min()
        .map_or(low, |&high| f64::from(high).sqrt());
    low + (high - low) * rank.fract()
}

/// Count, mean and standard deviation of a metric over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of images.
    pub n: usize,
    /// Mean; 0 without images.
    pub mean: f64,
    /// Sample standard deviation (over `n - 1`); 0 for fewer than two images.
    pub std: f64,
}

impl Summary {
    /// Summarises values, in two passes.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len();
        let mean = if n == 0 {
            0.0
        } else {
            values.iter().sum::<f64>() / n as f64
        };
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let std = if n < 2 {
            0.0
        } else {
            (squares / (n - 1) as f64).sqrt()
        };
        Self { n, mean, std }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
