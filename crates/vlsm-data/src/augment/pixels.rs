//! Colour, blur and noise.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vlsm_image::RgbImage;

/// Grey of a pixel, as ITU-R BT.601 weighs the channels.
fn luma(pixel: &[u8]) -> f64 {
    0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2])
}

fn level(value: f64) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// Multiplies all levels, their distance from the image's mean grey, and their distance from their pixel's grey.
pub(super) fn colored(image: &mut RgbImage, brightness: f64, contrast: f64, saturation: f64) {
    if (brightness, contrast, saturation) == (1.0, 1.0, 1.0) {
        return;
    }
    let pixels = (image.data.len() / 3).max(1) as f64;
    let mean = brightness * image.data.chunks_exact(3).map(luma).sum::<f64>() / pixels;
    for pixel in image.data.chunks_exact_mut(3) {
        let grey = brightness * luma(pixel);
        for value in pixel {
            let bright = brightness * f64::from(*value);
            let colored = grey + saturation * (bright - grey);
            *value = level(mean + contrast * (colored - mean));
        }
    }
}

/// Gaussian blur. The border is continued outside.
pub(super) fn blurred(image: &mut RgbImage, deviation: f64) {
    // A narrower kernel leaves 99.9 % to the pixel itself.
    if deviation < 0.25 || image.data.is_empty() {
        return;
    }
    let radius = (3.0 * deviation).ceil() as usize;
    let weights = (0..=2 * radius).map(|index| {
        let distance = index as f64 - radius as f64;
        (-0.5 * (distance / deviation).powi(2)).exp()
    });
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    let (width, height) = (image.width, image.height);
    let pass = |data: &[u8], across: bool| -> Vec<u8> {
        let length = if across { width } else { height };
        let mut out = Vec::with_capacity(data.len());
        for y in 0..height {
            for x in 0..width {
                for channel in 0..3 {
                    let position = if across { x } else { y };
                    let total: f64 = weights
                        .iter()
                        .enumerate()
                        .map(|(index, weight)| {
                            let at = (position + index).saturating_sub(radius).min(length - 1);
                            let (x, y) = if across { (at, y) } else { (x, at) };
                            weight * f64::from(data[3 * (y * width + x) + channel])
                        })
                        .sum();
                    out.push(level(total / sum));
                }
            }
        }
        out
    };
    let across = pass(&image.data, true);
    image.data = pass(&across, false);
}

/// Adds noise that is nearly Gaussian: a sum of four uniform numbers, which needs no function whose last bits differ between
/// platforms.
pub(super) fn noisy(image: &mut RgbImage, deviation: f64, seed: u64) {
    if deviation == 0.0 {
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    // The sum of four numbers from 0 to 1 has the variance 4 / 12.
    let factor = 255.0 * deviation * 3f64.sqrt() / 65536.0;
    for value in &mut image.data {
        let bits: u64 = rng.random();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        let centred = sum as f64 - 2.0 * 65535.0;
        *value = level(f64::from(*value) + factor * centred);
    }
}
