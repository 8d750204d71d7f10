//! What a phantom domain draws: a picture and what can be asked for in it.

use vlsm_image::{Mask, RgbImage};

/// A phantom picture with one mask for each class word that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phantom {
    pub(super) image: RgbImage,
    /// Class word and mask; a class that the picture does not show is left out.
    pub(super) targets: Vec<(&'static str, Mask)>,
}

/// The smallest share of the image that a target may cover: below it there is next to nothing to learn from.
pub(super) const SMALLEST_SHARE: f32 = 0.004;

/// The share of the image that a mask covers.
pub(super) fn share(mask: &Mask) -> f32 {
    let covered = mask.data.iter().filter(|v| **v == 1).count();
    covered as f32 / mask.data.len() as f32
}
