//! Metrics of whole-image labels from one confusion matrix over all images, as is usual for urban scenes.

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use vlsm_image::ClassMap;

/// Pixels by true and predicted class id, summed over images.
///
/// A class's IoU uses its pixels in the whole data set. This differs from the mean of per-image IoUs, in which an image
/// with few pixels of the class counts as much as one with many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[classes, classes + 1]`: a row for each true id, a column for each predicted id, and a last one for no class.
    counts: Vec<u64>,
}

/// The pixels of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassPixels {
    /// Pixels of the class in the ground truth.
    pub truth: u64,
    /// Pixels predicted as the class.
    pub predicted: u64,
    /// True positives: pixels of the class that were predicted as the class.
    pub both: u64,
}

impl ClassPixels {
    /// `both / (truth + predicted - both)`, that is TP / (TP + FP + FN); `None` if the class is in neither.
    pub fn iou(&self) -> Option<f64> {
        ratio(self.both, self.truth + self.predicted - self.both)
    }

    /// `both / truth`, the class's recall; `None` if the ground truth has no pixel of the class.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.both, self.truth)
    }
}

impl Confusion {
    /// An empty matrix for the ids 0 to `classes - 1`.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * (classes + 1)],
        }
    }

    /// Counts the pixels of an image, except those whose true id is `ignore`. A predicted id of `classes` or more, such as
    /// `ClassList::NONE`, means no class: the pixel is a false negative of the true class and a false positive of none.
    ///
    /// # Errors
    /// [`DataError::Shape`] if the two differ in size, or the ground truth has an id of `classes` or more. Nothing is
    /// counted then.
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
                "the ground truth contains id {id}, but there are {} classes; add a name for the id or make it the ignored one",
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

    /// Adds the counts of another matrix.
    ///
    /// # Errors
    /// [`DataError::Shape`] if it has another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            return Err(DataError::Shape {
                what: "confusion",
                reason: format!(
                    "a matrix of {} classes cannot be merged with one of {}",
                    self.classes, other.classes
                ),
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

    /// The rows of the matrix: for each true id the pixels by predicted id, and last those predicted as no class.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes + 1)
    }

    /// The pixels of a class; zero for an id of `classes` or more.
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

    /// Number of pixels counted.
    pub fn pixels(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Mean of the classes' IoUs (mIoU). As in mmsegmentation, classes that are neither in the ground truth nor predicted
    /// are left out, and a class that is only predicted has IoU 0. 0 without pixels.
    pub fn mean_iou(&self) -> f64 {
        self.mean(|_| true, ClassPixels::iou).unwrap_or(0.0)
    }

    /// The same over some of the classes, by id; `None` if all of them are left out.
    pub fn mean_iou_of(&self, classes: &[u8]) -> Option<f64> {
        let wanted = |id| classes.iter().any(|class| usize::from(*class) == id);
        self.mean(wanted, ClassPixels::iou)
    }

    /// Mean accuracy of the classes in the ground truth (mAcc), as in mmsegmentation. 0 without pixels.
    pub fn mean_accuracy(&self) -> f64 {
        self.mean(|_| true, ClassPixels::accuracy).unwrap_or(0.0)
    }

    /// Share of the pixels whose class was predicted correctly (aAcc). 0 without pixels.
    pub fn pixel_accuracy(&self) -> f64 {
        let correct = (0..self.classes).map(|id| self.class(id).both).sum();
        ratio(correct, self.pixels()).unwrap_or(0.0)
    }

    fn mean(
        &self,
        wanted: impl Fn(usize) -> bool,
        value: fn(&ClassPixels) -> Option<f64>,
    ) -> Option<f64> {
        let ids = (0..self.classes).filter(|id| wanted(*id));
        let values = ids.filter_map(|id| value(&self.class(id)));
        let (sum, count) = values.fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
        (count > 0).then(|| sum / f64::from(count))
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
#[path = "confusion_tests.rs"]
mod tests;
