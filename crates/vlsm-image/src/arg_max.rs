//! From the logits of classes to labels.

use crate::arrays::ClassMap;
use crate::resize::resize_map;

/// The labels of an image in the making: for each pixel the class with the highest logit so far.
///
/// Classes come one at a time, each resized to the image's own size and forgotten, so that memory does not grow with their
/// number. It is the logits that are resized, bilinearly, and then compared, as mmsegmentation does; labels resized by
/// nearest neighbour would have the steps of the model's grid along every rim.
#[derive(Clone, Debug)]
pub struct ArgMax {
    best: Vec<f32>,
    labels: ClassMap,
}

impl ArgMax {
    /// Nothing but `none`, for an image of `width` x `height`. A class must have a probability above `background`, from 0
    /// to 1, to be the label of a pixel; at 0 the highest always is.
    pub fn new(width: usize, height: usize, none: u8, background: f32) -> Self {
        let pixels = width * height;
        // The logit of the probability; minus infinity for 0.
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

    /// Adds a class: its logits `[height, width]`. Of equal logits the first class's counts.
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

    /// Two classes of one row, [0, 4] and [2, 2], on four pixels: the first is 0, 1, 3, 4 there (see `resize_map`). Labels
    /// resized by nearest neighbour would be the same here; see the next test for where they are not.
    #[test]
    fn the_highest_logit_labels_the_pixel_and_ties_stay_with_the_first() {
        let mut labels = ArgMax::new(4, 1, 255, 0.0);
        labels.add(7, &[0.0, 4.0], 2, 1);
        labels.add(3, &[2.0, 2.0], 2, 1);
        labels.add(9, &[0.0, 4.0], 2, 1);
        assert_eq!(labels.into_labels().data, [3, 3, 7, 7]);
    }

    /// At the left source pixel class 1 wins (0 > -1), at the right class 2 (5 > 1). Between them, a quarter of the way, class
    /// 1 has 0.25 and class 2 has 0.5: logits that are resized first cross there, masks that are resized do not.
    #[test]
    fn logits_are_resized_before_they_are_compared() {
        let mut labels = ArgMax::new(4, 1, 255, 0.0);
        labels.add(1, &[0.0, 1.0], 2, 1);
        labels.add(2, &[-1.0, 5.0], 2, 1);
        assert_eq!(labels.into_labels().data, [1, 2, 2, 2]);
    }

    /// Probability 0.5 is logit 0, 0.25 is -ln 3 = -1.0986.
    #[test]
    fn below_the_threshold_there_is_none() {
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
    fn what_is_not_a_number_labels_nothing() {
        let mut labels = ArgMax::new(2, 1, 255, 0.0);
        labels.add(0, &[f32::NAN, f32::MIN], 2, 1);
        assert_eq!(labels.into_labels().data, [255, 0]);
    }
}
