//! Turns decoded pixels into a model's input, with the arithmetic of torchvision on PIL images. It is implemented here
//! because results must equal PIL level for level.

use crate::arrays::{ClassMap, Mask, RgbImage};
use crate::resample::Resample;

/// Resizes an image to `size` x `size` pixels without keeping its aspect ratio. The filter is bilinear, with antialiasing
/// when it shrinks. The result equals PIL's `Image.resize((size, size), BILINEAR)` level for level, which torchvision's
/// `Resize` uses for PIL images. An image without pixels becomes black.
pub fn resize_image(image: &RgbImage, size: usize) -> RgbImage {
    if image.data.is_empty() {
        return RgbImage {
            width: size,
            height: size,
            data: vec![0; size * size * 3],
        };
    }
    let data = Resample::new(image.width, size).rows(&image.data, image.height);
    let data = Resample::new(image.height, size).columns(data, size * 3);
    RgbImage {
        width: size,
        height: size,
        data,
    }
}

/// Shrinks an image so that neither side is longer than `most` pixels, and keeps the aspect ratio. A smaller image is
/// unchanged. The filter is that of [`resize_image`].
pub fn fit_image(image: &RgbImage, most: usize) -> RgbImage {
    let longest = image.width.max(image.height);
    if longest <= most {
        return image.clone();
    }
    let fitted = |side: usize| ((side * most + longest / 2) / longest).max(1);
    let (width, height) = (fitted(image.width), fitted(image.height));
    let data = Resample::new(image.width, width).rows(&image.data, image.height);
    RgbImage {
        width,
        height,
        data: Resample::new(image.height, height).columns(data, width * 3),
    }
}

/// Resizes a mask by nearest neighbour. The result equals PIL's `Image.resize((width, height), NEAREST)`.
pub fn resize_mask(mask: &Mask, width: usize, height: usize) -> Mask {
    Mask {
        width,
        height,
        data: nearest(&mask.data, (mask.width, mask.height), (width, height)),
    }
}

/// Resizes a mask of class ids by nearest neighbour, like [`resize_mask`].
pub fn resize_class_map(map: &ClassMap, width: usize, height: usize) -> ClassMap {
    ClassMap {
        width,
        height,
        data: nearest(&map.data, (map.width, map.height), (width, height)),
    }
}

/// Resizes a map of real values from `[height, width]` to `[new_height, new_width]`, bilinearly between pixel centres and
/// without antialiasing, like PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
///
/// For logits and probabilities. An empty map gives zeros.
pub fn resize_map(
    map: &[f32],
    width: usize,
    height: usize,
    new_width: usize,
    new_height: usize,
) -> Vec<f32> {
    if width == 0 || height == 0 {
        return vec![0.0; new_width * new_height];
    }
    let across: Vec<_> = (0..new_width)
        .map(|x| between(x, width, new_width))
        .collect();
    let mut out = Vec::with_capacity(new_width * new_height);
    for y in 0..new_height {
        let (top, bottom, down) = between(y, height, new_height);
        let (top, bottom) = (
            &map[top * width..][..width],
            &map[bottom * width..][..width],
        );
        out.extend(across.iter().map(|&(left, right, t)| {
            let upper = top[left] * (1.0 - t) + top[right] * t;
            let lower = bottom[left] * (1.0 - t) + bottom[right] * t;
            upper * (1.0 - down) + lower * down
        }));
    }
    out
}

/// Writes an image into `out` as a model's input: `(v / 255 - mean) / std`, `[3, height, width]`.
///
/// # Panics
/// If `out` does not have `3 * height * width` values.
pub fn normalize(image: &RgbImage, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) {
    let pixels = image.width * image.height;
    assert_eq!(
        out.len(),
        3 * pixels,
        "normalize: `out` must hold 3 x {} x {} values",
        image.height,
        image.width
    );
    if pixels == 0 {
        return;
    }
    for (channel, plane) in out.chunks_exact_mut(pixels).enumerate() {
        let table: [f32; 256] =
            std::array::from_fn(|v| (v as f32 / 255.0 - mean[channel]) / std[channel]);
        for (value, pixel) in plane.iter_mut().zip(image.data.chunks_exact(3)) {
            *value = table[usize::from(pixel[channel])];
        }
    }
}

/// The two source pixels around the centre of output pixel `i`, and the weight of the second.
fn between(i: usize, size: usize, new_size: usize) -> (usize, usize, f32) {
    let centre = ((i as f32 + 0.5) * (size as f32 / new_size as f32) - 0.5).max(0.0);
    let first = (centre as usize).min(size - 1);
    (first, (first + 1).min(size - 1), centre - first as f32)
}

fn nearest(
    data: &[u8],
    (width, height): (usize, usize),
    (new_width, new_height): (usize, usize),
) -> Vec<u8> {
    if width == 0 || height == 0 {
        return vec![0; new_width * new_height];
    }
    if (width, height) == (new_width, new_height) {
        return data.to_vec();
    }
    let across = nearest_sources(width, new_width);
    let mut out = Vec::with_capacity(new_width * new_height);
    for y in nearest_sources(height, new_height) {
        let row = &data[y * width..][..width];
        out.extend(across.iter().map(|&x| row[x]));
    }
    out
}

/// Source index of every output pixel, `floor((i + 0.5) * size / new_size)`. The sum is accumulated in double precision,
/// as in Pillow's `ImagingScaleAffine` (Geometry.c), so that ties are broken in the same way.
fn nearest_sources(size: usize, new_size: usize) -> Vec<usize> {
    let step = size as f64 / new_size as f64;
    let mut at = step * 0.5;
    let mut sources = Vec::with_capacity(new_size);
    for _ in 0..new_size {
        sources.push((at as usize).min(size - 1));
        at += step;
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, height: usize, levels: &[u8]) -> RgbImage {
        RgbImage {
            width,
            height,
            data: levels.iter().flat_map(|&v| [v, v, v]).collect(),
        }
    }

    fn red(image: &RgbImage) -> Vec<u8> {
        image.data.iter().step_by(3).copied().collect()
    }

    /// Halves four pixels. The triangle of half-width 2 around 1.0 gives pixels 0, 1, 2 the weights 0.75, 0.75, 0.25, over
    /// 1.75.
    #[test]
    fn shrinking_averages_with_a_triangle_filter() {
        let row = [0u8, 100, 200, 40];
        let image = grey(4, 4, &row.repeat(4));
        let left = (0.75 * 0.0 + 0.75 * 100.0 + 0.25 * 200.0f64) / 1.75;
        let right = (0.25 * 100.0 + 0.75 * 200.0 + 0.75 * 40.0f64) / 1.75;
        let expected = [left.round() as u8, right.round() as u8];
        assert_eq!(red(&resize_image(&image, 2)), expected.repeat(2));
    }

    /// Doubles two pixels. The inner centres are at 0.25 and 0.75 of the way, the outer two at the border.
    #[test]
    fn growing_interpolates_between_centres() {
        let image = grey(2, 2, &[0, 100, 0, 100]);
        assert_eq!(red(&resize_image(&image, 4)), [0, 25, 75, 100].repeat(4));
    }

    #[test]
    fn a_uniform_image_stays_uniform_and_the_same_size_is_a_copy() {
        for (width, height, size) in [(7, 3, 16), (100, 33, 10), (1, 1, 5), (640, 480, 352)] {
            let flat = RgbImage {
                width,
                height,
                data: [9, 200, 255].repeat(width * height),
            };
            assert_eq!(
                resize_image(&flat, size).data,
                [9, 200, 255].repeat(size * size)
            );
        }
        let empty = RgbImage {
            width: 0,
            height: 5,
            data: vec![],
        };
        assert_eq!(resize_image(&empty, 2).data, [0; 12]);
        let image = grey(3, 3, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(resize_image(&image, 3), image);
    }

    #[test]
    fn fitting_keeps_the_aspect_ratio_and_never_enlarges() {
        let image = RgbImage {
            width: 640,
            height: 480,
            data: [9, 200, 255].repeat(640 * 480),
        };
        let fitted = fit_image(&image, 256);
        assert_eq!((fitted.width, fitted.height), (256, 192));
        assert_eq!(fitted.data, [9, 200, 255].repeat(256 * 192));
        assert_eq!(fit_image(&image, 640), image);
        let line = grey(1000, 1, &[7; 1000]);
        let fitted = fit_image(&line, 100);
        assert_eq!((fitted.width, fitted.height), (100, 1));
    }

    #[test]
    fn nearest_takes_the_pixel_under_the_centre() {
        let mask = Mask {
            width: 5,
            height: 1,
            data: vec![0, 1, 255, 0, 1],
        };
        // Centres 0.5 * 5/3 = 0.83, 2.5, 4.17.
        assert_eq!(resize_mask(&mask, 3, 2).data, [0, 255, 1, 0, 255, 1]);
        let map = ClassMap {
            width: 2,
            height: 2,
            data: vec![1, 2, 3, 4],
        };
        assert_eq!(resize_class_map(&map, 4, 2).data, [1, 1, 2, 2, 3, 3, 4, 4]);
    }

    /// `torch.nn.functional.interpolate(torch.tensor([[[[0., 4.]]]]), (1, 4), mode="bilinear")` by hand.
    #[test]
    fn a_map_is_interpolated_between_pixel_centres() {
        assert_eq!(resize_map(&[0.0, 4.0], 2, 1, 4, 1), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(resize_map(&[0.0, 1.0, 2.0, 3.0], 2, 2, 1, 1), [1.5]);
        assert_eq!(resize_map(&[0.25; 6], 3, 2, 5, 7), [0.25; 35]);
    }

    #[test]
    fn normalizing_separates_channels() {
        let image = RgbImage {
            width: 2,
            height: 1,
            data: vec![0, 51, 255, 255, 0, 102],
        };
        let mut out = [0.0; 6];
        normalize(&image, [0.5, 0.0, 1.0], [0.5, 1.0, 0.25], &mut out);
        let expected = [-1.0, 1.0, 0.2, 0.0, 0.0, (0.4 - 1.0) / 0.25];
        assert!(
            out.iter()
                .zip(expected)
                .all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6),
            "{out:?}"
        );
    }
}
