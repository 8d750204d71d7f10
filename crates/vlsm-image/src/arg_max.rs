//! Computes labels from the logits of classes.

use crate::arrays::ClassMap;
use crate::resize::resize_map;

/// Accumulates the labels of an image: for each pixel the class with the highest logit so far.
///
/// Classes are added one at a time. Their logits are resized to the image's size and then dropped, so memory does not grow
/// with the number of classes. Logits are resized bilinearly before they are compared, as in mmsegmentation. Resizing
/// labels by nearest neighbour instead would show the model's grid as steps along every edge.
#[derive(Clone, Debug)]
pub struct ArgMax {
    best: Vec<f32>,
    labels: ClassMap,
}

impl ArgMax {
    /// Labels of `none` everywhere, for an image of `width` x `height`. A pixel gets a class only if the class's probability
    /// is above `background`, from 0 to 1; at 0 the class with the highest logit always wins.
    pub fn new(width: usize, height: usize, none: u8, background: f32) -> Self {
        let pixels = width * height;
        // The threshold's logit; minus infinity for 0.
        let least = (background / (1.0 - background)).ln();
        Self {
            best: vec![least; pixels],
            labels: ClassMap {
                width,
                height,
                data: vec![none; pixels],
            },
        }
    }

    /// Adds the logits of a class, `[height, width]`. Ties go to the class added first.
    pub fn add(&mut self, id: u8, logits: &[f32], width: usize, height: usize) {
        let logits = resize_map(logits, width, height, self.labels.width, self.labels.height);
        let pixels = self.best.iter_mut().zip(&mut self.labels.data);
        for ((best, label), logit) in pixels.zip(logits) {
            if logit > *best {
                (*best, *label) = (logit, id);
            }
        }
    }

    /// The labels.
    pub fn into_labels(self) -> ClassMap {
        self.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes with one row of logits each, [0, 4] and [2, 2], on four pixels. The first becomes 0, 1, 3, 4 (see
    /// `resize_map`). Labels resized by nearest neighbour would be the same here, but not in the next test.
    #[test]
    fn the_highest_logit_labels_the_pixel_and_ties_stay_with_the_first() {
        let mut labels = ArgMax::new(4, 1, 255, 0.0);
        labels.add(7, &[0.0, 4.0], 2, 1);
        labels.add(3, &[2.0, 2.0], 2, 1);
        labels.add(9, &[0.0, 4.0], 2, 1);
        assert_eq!(labels.into_labels().data, [3, 3, 7, 7]);
    }

    /// Class 1 wins at the left source pixel (0 > -1), class 2 at the right one (5 > 1). A quarter of the way between them,
    /// class 1 has 0.25 and class 2 has 0.5, so class 2 wins there; with resized labels class 1 would.
    #[test]
    fn logits_are_resized_before_they_are_compared() {
        let mut labels = ArgMax::new(4, 1, 255, 0.0);
        labels.add(1, &[0.0, 1.0], 2, 1);
        labels.add(2, &[-1.0, 5.0], 2, 1);
        assert_eq!(labels.into_labels().data, [1, 2, 2, 2]);
    }

    /// Probability 0.5 is logit 0, 0.25 is -ln 3 = -1.0986.
    #[test]
    fn pixels_below_the_threshold_get_no_class() {
        let labels = |background| {
            let mut labels = ArgMax::new(4, 1, 11, background);
            labels.add(0, &[-1.2, -1.0, 0.0, 0.1], 4, 1);
            labels.into_labels().data
        };
        assert_eq!(labels(0.5), [11, 11, 11, 0]);
        assert_eq!(labels(0.25), [11, 0, 0, 0]);
        assert_eq!(labels(0.0), [0; 4]);
        assert_eq!(labels(1.0), [11; 4]);
    }

    #[test]
    fn nan_gives_no_label() {
        let mut labels = ArgMax::new(2, 1, 255, 0.0);
        labels.add(0, &[f32::NAN, f32::MIN], 2, 1);
        assert_eq!(labels.into_labels().data, [255, 0]);
    }
}
