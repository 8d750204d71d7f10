//! What a phantom domain draws: a picture and its targets.

use vlsm_image::{Mask, RgbImage};

/// A phantom picture with a mask for each class that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phantom {
    pub(super) image: RgbImage,
    /// Class word and mask of each class that the picture shows.
    pub(super) targets: Vec<(&'static str, Mask)>,
}

/// Smallest fraction of the image that a target may cover; less is too little to learn from.
pub(super) const SMALLEST_SHARE: f32 = 0.004;

/// Fraction of the image that a mask covers.
pub(super) fn share(mask: &Mask) -> f32 {
    let covered = mask.data.iter().filter(|v| **v == 1).count();
    covered as f32 / mask.data.len() as f32
}
