//! How images become a model's input.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vlsm_image::{Fit, RgbImage, normalize, resize_image};

use crate::device::takes_bytes;
use crate::error::{ModelError, Result};

/// ImageNet's mean of red, green and blue, of values in 0..1 (CLIPSeg's `preprocessor_config.json`).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// ImageNet's standard deviation of red, green and blue, of values in 0..1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// CLIP's mean of each channel (Radford et al. 2021), of values in 0..1.
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// CLIP's standard deviation of each channel.
pub const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Input side and normalisation of a base, as in Hugging Face's `preprocessor_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessing {
    /// Side of the square input, in pixels.
    pub image_size: usize,
    /// Mean of each channel, of values in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
    /// How images of other shapes become the square.
    pub fit: Fit,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Size {
    Side(usize),
    Sides { height: usize, width: usize },
    Shortest { shortest_edge: usize },
}

#[derive(Deserialize)]
struct PreprocessorConfig {
    size: Option<Size>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

impl Preprocessing {
    /// Images of a size, normalised with ImageNet's mean and standard deviation.
    pub fn imagenet(image_size: usize) -> Self {
        Self {
            image_size,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            fit: Fit::Stretch,
        }
    }

    /// Images of a size, normalised with CLIP's mean and standard deviation.
    pub fn clip(image_size: usize) -> Self {
        Self {
            image_size,
            mean: CLIP_MEAN,
            std: CLIP_STD,
            fit: Fit::Stretch,
        }
    }

    /// Images of any size as a model's input, `[images, 3, image_size, image_size]`: each resized to the square
    /// as torchvision does ([`resize_image`]), scaled to 0..1 and normalised.
    ///
    /// # Errors
    /// If there are no images, or the data of one is not as long as its width and height say.
    pub fn tensor(&self, images: &[&RgbImage], device: &Device) -> Result<Tensor<4>> {
        if images.is_empty() {
            return Err(ModelError::Image("there is none; give at least one".into()));
        }
        for image in images {
            check_image(image)?;
        }
        let side = self.image_size;
        if takes_bytes(device) {
            return Ok(self.normalized_there(images, device));
        }
        let mut data = vec![0.0; images.len() * 3 * side * side];
        images
            .par_iter()
            .zip(data.par_chunks_mut((3 * side * side).max(1)))
            .for_each(|(image, out)| {
                let (mean, std) = (self.mean, self.std);
                if (image.width, image.height) == (side, side) {
                    normalize(image, mean, std, out);
                } else {
                    normalize(&resize_image(&self.fit.image(image), side), mean, std, out);
                }
            });
        let data = TensorData::new(data, [images.len(), 3, side, side]);
        Ok(Tensor::from_data(data, device))
    }

    /// As [`tensor`](Self::tensor), normalised on the device: a quarter of the bytes are copied to it.
    fn normalized_there(&self, images: &[&RgbImage], device: &Device) -> Tensor<4> {
        let side = self.image_size;
        let mut data = vec![0u8; images.len() * 3 * side * side];
        images
            .par_iter()
            .zip(data.par_chunks_mut((3 * side * side).max(1)))
            .for_each(
                |(image, out)| match (image.width, image.height) == (side, side) {
                    true => out.copy_from_slice(&image.data),
                    false => out.copy_from_slice(&resize_image(&self.fit.image(image), side).data),
                },
            );
        let data = TensorData::new(data, [images.len(), side, side, 3]);
        let pixels = Tensor::<4, Int>::from_data(data, (device, DType::U8)).float();
        let channels = pixels.permute([0, 3, 1, 2]).chunk(3, 1);
        let normal = channels
            .into_iter()
            .zip(self.mean.into_iter().zip(self.std));
        let normal = normal.map(|(channel, (mean, std))| (channel / 255.0 - mean) / std);
        Tensor::cat(normal.collect(), 1)
    }

    /// Parses a `preprocessor_config.json`; what it does not say is as in `default`.
    ///
    /// # Errors
    /// If it is malformed, its input is not square, or images cannot be normalised by its numbers.
    pub fn parse(text: &str, default: Self) -> std::result::Result<Self, String> {
        let mut preprocessing = default;
        let file: PreprocessorConfig =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        match file.size {
            Some(
                Size::Side(side)
                | Size::Shortest {
                    shortest_edge: side,
                },
            ) => preprocessing.image_size = side,
            Some(Size::Sides { height, width }) if height == width => {
                preprocessing.image_size = height;
            }
            Some(Size::Sides { height, width }) => {
                return Err(format!("`size` is {width}x{height}, not square"));
            }
            None => {}
        }
        preprocessing.mean = file.image_mean.unwrap_or(preprocessing.mean);
        preprocessing.std = file.image_std.unwrap_or(preprocessing.std);
        let size = preprocessing.image_size;
        if !(1..=MAX_IMAGE_SIZE).contains(&size) {
            return Err(format!(
                "`size` is {size}; use 1 to {MAX_IMAGE_SIZE} pixels"
            ));
        }
        // 0 would make every pixel infinite, a negative deviation would invert the image.
        if !preprocessing.std.iter().all(|std| *std > 0.0) {
            return Err("`image_std` has a number that is not positive".into());
        }
        Ok(preprocessing)
    }

    /// The configuration files of a base in Transformers' format: `config`, and this.
    pub(crate) fn with_config(
        &self,
        config: serde_json::Value,
    ) -> Vec<(&'static str, serde_json::Value)> {
        vec![
            ("config.json", config),
            ("preprocessor_config.json", self.to_json()),
        ]
    }

    /// The file that Transformers reads back as a `ViTImageProcessor`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "do_normalize": true,
            "do_rescale": true,
            "do_resize": true,
            "image_mean": self.mean.map(shortest),
            "image_processor_type": "ViTImageProcessor",
            "image_std": self.std.map(shortest),
            "processor_class": "CLIPSegProcessor",
            "resample": 2,
            "rescale_factor": 1.0 / 255.0,
            "size": { "height": self.image_size, "width": self.image_size },
        })
    }
}

/// Checks that an image has pixels, and as much data as its width and height say.
///
/// # Errors
/// If it does not.
pub(crate) fn check_image(image: &RgbImage) -> Result<()> {
    let (width, height, values) = (image.width, image.height, image.data.len());
    let wanted = width.checked_mul(height).and_then(|n| n.checked_mul(3));
    if values == 0 || wanted != Some(values) {
        return Err(ModelError::Image(format!(
            "`data` has {values} values, but {width} x {height} pixels of 3 channels are wanted; \
             neither side may be 0"
        )));
    }
    Ok(())
}

/// The double that prints as the single does.
pub(crate) fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Largest side of a model's input, in pixels. At 4096 the attention of a ViT-B/16 alone takes minutes; a larger number is a
/// slip of the pen, for which memory would run out.
pub const MAX_IMAGE_SIZE: usize = 4096;

/// Checks that an input is not absurdly large.
///
/// # Errors
/// If `size` is above [`MAX_IMAGE_SIZE`].
pub(crate) fn check_largest(size: usize) -> Result<()> {
    match size > MAX_IMAGE_SIZE {
        true => Err(ModelError::ImageSize {
            size,
            message: format!("must be at most {MAX_IMAGE_SIZE} pixels"),
        }),
        false => Ok(()),
    }
}

/// Checks that a vision tower with patches of `patch` pixels can take a square input of `size` pixels.
///
/// # Errors
/// If `size` is not a positive multiple of the patch size, and names the nearest that is; or if it is above
/// [`MAX_IMAGE_SIZE`].
pub fn check_image_size(size: usize, patch: usize) -> Result<()> {
    check_largest(size)?;
    if size == 0 || !size.is_multiple_of(patch) {
        let nearest = ((size + patch / 2) / patch).max(1) * patch;
        return Err(ModelError::ImageSize {
            size,
            message: format!("must be a multiple of the patch size {patch}; try {nearest}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_image_can_be_normalised_by_are_refused() {
        for (text, field) in [
            (r#"{"size":0}"#, "size"),
            (r#"{"size":1000000000}"#, "size"),
            (r#"{"image_std":[0.2,0.0,0.2]}"#, "image_std"),
            (r#"{"image_std":[0.2,-0.2,0.2]}"#, "image_std"),
        ] {
            let error = Preprocessing::parse(text, Preprocessing::clip(224)).unwrap_err();
            assert!(error.contains(field), "{text}: {error}");
        }
    }
}
