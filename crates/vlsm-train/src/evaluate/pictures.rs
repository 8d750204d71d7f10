//! Small pictures of each sample for a report: made while an evaluation has masks and images at hand.

use vlsm_data::Sample;
use vlsm_image::{Mask, fit_image, jpeg, outline, png_stencil, resize_mask};

use crate::error::Result;

/// What pictures may take of a report, in bytes, before they are written as text, which adds a third.
const BUDGET: usize = 30 << 20;
/// Bytes of a JPEG per pixel, for images with much texture.
const BYTES_PER_PIXEL: f64 = 0.25;
/// Limits of the longer side of a picture, in pixels.
const SIDES: (usize, usize) = (96, 512);

/// A sample's pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct CasePictures {
    /// Width of the pictures, in pixels.
    pub width: usize,
    /// Height of the pictures, in pixels.
    pub height: usize,
    /// The image, as JPEG.
    pub image: Vec<u8>,
    /// The outline of the true mask, as PNG: opaque where it is.
    pub truth: Vec<u8>,
    /// The predicted mask, as PNG: opaque where it is.
    pub prediction: Vec<u8>,
    /// Share of the image's pixels in the true mask.
    pub truth_share: f64,
    /// Share of the image's pixels in the predicted mask.
    pub predicted_share: f64,
}

impl CasePictures {
    /// The longer side of each of `count` pictures: the more there are, the smaller, so that a page with all of them stays
    /// below 60 MB.
    pub fn side(count: usize) -> usize {
        let pixels = BUDGET as f64 / BYTES_PER_PIXEL / count.max(1) as f64;
        (pixels.sqrt() as usize).clamp(SIDES.0, SIDES.1)
    }

    /// The pictures of a sample, whose longer side is at most `side`.
    pub(super) fn new(
        sample: &Sample,
        ignore: Option<u8>,
        truth: &Mask,
        predicted: &Mask,
        side: usize,
    ) -> Result<Self> {
        let (image, _) = sample.read(ignore)?;
        let image = fit_image(&image, side);
        let (width, height) = (image.width, image.height);
        let share = |mask: &Mask| {
            let inside = mask.data.iter().filter(|value| **value == 1).count();
            inside as f64 / mask.data.len().max(1) as f64
        };
        let rim = (width.min(height) / 160).max(1);
        Ok(Self {
            width,
            height,
            image: jpeg(&image)?,
            truth: png_stencil(&outline(&resize_mask(truth, width, height), rim))?,
            prediction: png_stencil(&resize_mask(predicted, width, height))?,
            truth_share: share(truth),
            predicted_share: share(predicted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_pictures_are_smaller() {
        assert_eq!(CasePictures::side(0), 512);
        assert_eq!(CasePictures::side(100), 512);
        assert_eq!(CasePictures::side(2000), 250);
        assert_eq!(CasePictures::side(1_000_000), 96);
    }
}
