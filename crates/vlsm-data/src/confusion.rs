//! Metrics of whole-image labels, as the field computes them for urban scenes: from one confusion matrix over all images.

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use vlsm_image::ClassMap;

/// Pixels by true and predicted class id, summed over images.
///
/// A rare class weighs by its pixels in the whole data set, not by the images that happen to show it; a mean of per-image
/// IoUs is another number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[classes, classes + 1]`: a row for each true id; a column for each predicted one, and one for predictions of none.
    counts: Vec<u64>,
}

/// The pixels of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassPixels {
    /// Pixels that are of the class.
    pub truth: u64,
    /// Pixels that were predicted to be.
    pub predicted: u64,
    /// Pixels that are and were predicted to be: the true positives.
    pub both: u64,
}

impl ClassPixels {
    /// `both / (truth + predicted - both)`, which is TP / (TP + FP + FN); `None` if the class is in neither.
    pub fn iou(&self) -> Option<f64> {
        ratio(self.both, self.truth + self.predicted - self.both)
    }

    /// `both / truth`, the class's recall; `None` if no pixel is of the class.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.both, self.truth)
    }
}

impl Confusion {
    /// No pixels yet, of the ids 0 to `classes - 1`.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * (classes + 1)],
        }
    }

    /// Counts the pixels of an image. Where the truth is `ignore`, a pixel counts nowhere. A predicted id without a row,
    /// such as [`ClassList::NONE`](crate::ClassList::NONE), is a prediction of none: the true class misses the pixel, and
    /// no other gets it.
    ///
    /// # Errors
    /// [`DataError::Shape`] if the two differ in size, or the truth has an id without a row; nothing is counted then.
    pub fn add(
        &mut self,
        predicted: &ClassMap,
        truth: &ClassMap,
        ignore: Option<u8>,
    ) -> Result<()> {
        let fault = |reason| DataError::Shape {
            what: "confusion",
            reason,
        };
        let pixels = truth.width * truth.height;
        if (predicted.width, predicted.height) != (truth.width, truth.height)
            || predicted.data.len() != pixels
            || truth.data.len() != pixels
        {
            return Err(fault(format!(
                "prediction is {}x{} ({} values), truth is {}x{} ({} values); resize the prediction's logits",
                predicted.width,
                predicted.height,
                predicted.data.len(),
                truth.width,
                truth.height,
                truth.data.len()
            )));
        }
        let known = |id: u8| Some(id) == ignore || usize::from(id) < self.classes;
        if let Some(id) = truth.data.iter().find(|id| !known(**id)) {
            return Err(fault(format!(
                "the truth holds id {id}, but there are {} classes; name it, or make it the id that is ignored",
                self.classes
            )));
        }
        for (&predicted, &truth) in predicted.data.iter().zip(&truth.data) {
            if Some(truth) != ignore {
                let column = usize::from(predicted).min(self.classes);
                self.counts[usize::from(truth) * (self.classes + 1) + column] += 1;
            }
        }
        Ok(())
    }

    /// Adds the pixels that another one has counted.
    ///
    /// # Errors
    /// [`DataError::Shape`] if it is of another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            return Err(DataError::Shape {
                what: "confusion",
                reason: format!("{} classes do not go with {}", self.classes, other.classes),
            });
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        Ok(())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// For each true id its pixels by predicted id, and at the end those that were predicted to be of no class.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes + 1)
    }

    /// The pixels of a class; none for an id without a row.
    pub fn class(&self, id: usize) -> ClassPixels {
        if id >= self.classes {
            return ClassPixels::default();
        }
        let row = &self.counts[id * (self.classes + 1)..][..=self.classes];
        ClassPixels {
            truth: row.iter().sum(),
            predicted: self.rows().map(|row| row[id]).sum(),
            both: row[id],
        }
    }

    /// All pixels that were counted.
    pub fn pixels(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean of the classes' IoUs, mIoU. Classes that are neither in the truth nor in a prediction are left out, and
    /// one that is only predicted counts 0, as in mmsegmentation. 0 without pixels.
    pub fn mean_iou(&self) -> f64 {
        self.mean(ClassPixels::iou)
    }

    /// The mean of the classes' accuracies over those in the truth, as in mmsegmentation (mAcc). 0 without pixels.
    pub fn mean_accuracy(&self) -> f64 {
        self.mean(ClassPixels::accuracy)
    }

    /// The share of the pixels whose class was predicted (aAcc). 0 without pixels.
    pub fn pixel_accuracy(&self) -> f64 {
        let right = (0..self.classes).map(|id| self.class(id).both).sum();
        ratio(right, self.pixels()).unwrap_or(0.0)
    }

    fn mean(&self, value: fn(&ClassPixels) -> Option<f64>) -> f64 {
        let values = (0..self.classes).filter_map(|id| value(&self.class(id)));
        let (sum, count) = values.fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
        if count == 0 {
            0.0
        } else {
            sum / f64::from(count)
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
#[path = "confusion_tests.rs"]
mod tests;
