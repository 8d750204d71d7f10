//! Crops of segments, by OVSeg's rule.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use vlsm_image::{Mask, RgbImage};

use crate::error::{ModelError, Result};
use crate::preprocess::Preprocessing;
use crate::resize::{Corners, Filter, taps};

/// A segment as a CLIP's input, `[3, side, side]`, normalised: the mask's bounding box is cut out of the image, pixels outside the
/// mask get the mean colour, and the result is resized to the square without keeping its aspect ratio, bicubically as PyTorch does
/// (a = -0.75, no antialias).
///
/// The rule is that of OVSeg (Liang et al. 2023) with its defaults: masks above 0.4, boxes not enlarged. The mean is that of the
/// base, for a CLIP of OpenAI the same as OVSeg's.
///
/// # Errors
/// If image and mask differ in size, or the mask has no foreground.
pub fn crop(image: &RgbImage, mask: &Mask, preprocessing: &Preprocessing) -> Result<Vec<f32>> {
    if (image.width, image.height) != (mask.width, mask.height) {
        return Err(ModelError::Image(format!(
            "the mask is {}x{}, but the image {}x{}; they must be equal",
            mask.width, mask.height, image.width, image.height
        )));
    }
    let Some([left, top, right, bottom]) = mask.bounding_box() else {
        return Err(ModelError::Image(
            "the mask of a segment is empty; leave the segment out".into(),
        ));
    };
    let (width, height, side) = (right - left, bottom - top, preprocessing.image_size);
    let across: Vec<_> = taps(width, side, Filter::Bicubic, Corners::Edges).collect();
    let down: Vec<_> = taps(height, side, Filter::Bicubic, Corners::Edges).collect();
    let mut crop = Vec::with_capacity(3 * side * side);
    for channel in 0..3 {
        let (mean, std) = (preprocessing.mean[channel], preprocessing.std[channel]);
        // The mean colour is 0 once it is normalised.
        let level = |x: usize, y: usize| {
            let pixel = y * image.width + x;
            match mask.data[pixel] {
                1 => (f32::from(image.data[3 * pixel + channel]) / 255.0 - mean) / std,
                _ => 0.0,
            }
        };
        let mut rows = Vec::with_capacity(height * side);
        for y in 0..height {
            let row: Vec<f32> = (0..width).map(|x| level(left + x, top + y)).collect();
            rows.extend(across.iter().map(|taps| weighted(taps, |x| row[x])));
        }
        for taps in &down {
            crop.extend((0..side).map(|x| weighted(taps, |y| rows[y * side + x])));
        }
    }
    Ok(crop)
}

fn weighted(taps: &[(usize, f64); 4], value: impl Fn(usize) -> f32) -> f32 {
    taps.iter()
        .map(|(source, weight)| *weight as f32 * value(*source))
        .sum()
}

/// Crops of segments as a batch, `[segments, 3, side, side]`; see [`crop`].
///
/// # Errors
/// As [`crop`].
pub fn crops(
    segments: &[(&RgbImage, &Mask)],
    preprocessing: &Preprocessing,
    device: &Device,
) -> Result<Tensor<4>> {
    let cut = segments.par_iter();
    let cut = cut.map(|(image, mask)| crop(image, mask, preprocessing));
    let data = cut.collect::<Result<Vec<_>>>()?.concat();
    let side = preprocessing.image_size;
    let data = TensorData::new(data, [segments.len(), 3, side, side]);
    Ok(Tensor::from_data(data, device))
}
