//! A change of a sample, applied to its image and its mask.

use vlsm_image::{Mask, RgbImage, resize_image};

use super::pixels::{blurred, colored, noisy};

/// What happens to a sample. Positions are the same for image and mask, although they are resized to different sizes: the image is
/// cropped, mirrored, resized, then rotated and scaled about its centre; the mask's pixels are looked up through the same steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transform {
    /// Whether left and right are mirrored.
    pub flip_horizontal: bool,
    /// Whether top and bottom are mirrored.
    pub flip_vertical: bool,
    /// Rotation in degrees, clockwise.
    pub rotate: f64,
    /// Factor on the size.
    pub scale: f64,
    /// What remains of the image: left, top, right, bottom, as shares of its sides.
    pub crop: [f64; 4],
    /// Factor on all levels.
    pub brightness: f64,
    /// Factor on the distance from the mean level.
    pub contrast: f64,
    /// Factor on the distance from grey.
    pub saturation: f64,
    /// Standard deviation of the blur, in pixels of the input.
    pub blur: f64,
    /// Standard deviation of the noise, as a share of the range of levels.
    pub noise: f64,
    /// Seed of the noise.
    pub seed: u64,
}

/// A rectangle of pixels: left, top, right, bottom, the last two exclusive.
type Rectangle = [usize; 4];

impl Transform {
    /// All of the image.
    pub const WHOLE: [f64; 4] = [0.0, 0.0, 1.0, 1.0];

    /// Nothing is changed.
    pub const IDENTITY: Self = Self {
        flip_horizontal: false,
        flip_vertical: false,
        rotate: 0.0,
        scale: 1.0,
        crop: Self::WHOLE,
        brightness: 1.0,
        contrast: 1.0,
        saturation: 1.0,
        blur: 0.0,
        noise: 0.0,
        seed: 0,
    };

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        let Self { seed, .. } = *self;
        *self
            == Self {
                seed,
                ..Self::IDENTITY
            }
    }

    /// The changed image as a square of `side` pixels. What was outside the image is black.
    pub fn image(&self, image: &RgbImage, side: usize) -> RgbImage {
        let crop = self.rectangle(image.width, image.height);
        let [x0, y0, x1, y1] = crop;
        let (width, height) = (x1 - x0, y1 - y0);
        let cropped = RgbImage::from_fn(width, height, |x, y| {
            let (x, y) = self.mirror((x, y), (width, height));
            let index = 3 * ((y0 + y) * image.width + x0 + x);
            [
                image.data[index],
                image.data[index + 1],
                image.data[index + 2],
            ]
        });
        let mut square = resize_image(&cropped, side);
        if self.turns() {
            let turn = Turn::new(self, crop);
            square = RgbImage::from_fn(side, side, |x, y| {
                let (u, v) = turn.source(centre(x, side), centre(y, side));
                bilinear(&square, u * side as f64 - 0.5, v * side as f64 - 0.5)
            });
        }
        colored(&mut square, self.brightness, self.contrast, self.saturation);
        blurred(&mut square, self.blur);
        noisy(&mut square, self.noise, self.seed);
        square
    }

    /// The changed mask as a square of `side` pixels, by nearest neighbour. What was outside the image is ignored.
    pub fn mask(&self, mask: &Mask, side: usize) -> Mask {
        let crop = self.rectangle(mask.width, mask.height);
        let [x0, y0, x1, y1] = crop;
        let (width, height) = (x1 - x0, y1 - y0);
        let turn = Turn::new(self, crop);
        Mask::from_fn(side, side, |x, y| {
            let (mut u, mut v) = (centre(x, side), centre(y, side));
            if self.turns() {
                (u, v) = turn.source(u, v);
            }
            if !((0.0..1.0).contains(&u) && (0.0..1.0).contains(&v)) {
                return Mask::IGNORE;
            }
            let pixel =
                |share: f64, length: usize| ((share * length as f64) as usize).min(length - 1);
            let (x, y) = self.mirror((pixel(u, width), pixel(v, height)), (width, height));
            mask.data[(y0 + y) * mask.width + x0 + x]
        })
    }

    fn turns(&self) -> bool {
        self.rotate != 0.0 || self.scale != 1.0
    }

    /// The pixels that remain of an image, at least one.
    fn rectangle(&self, width: usize, height: usize) -> Rectangle {
        let [x0, y0, x1, y1] = self.crop;
        let range = |low: f64, high: f64, length: usize| {
            let low = ((low * length as f64).round() as usize).min(length.saturating_sub(1));
            let high = ((high * length as f64).round() as usize).min(length);
            (low, high.max(low + 1).min(length))
        };
        let ((x0, x1), (y0, y1)) = (range(x0, x1, width), range(y0, y1, height));
        [x0, y0, x1, y1]
    }

    /// The pixel of the cropped image that a pixel of the mirrored one shows.
    fn mirror(&self, (x, y): (usize, usize), (width, height): (usize, usize)) -> (usize, usize) {
        let x = if self.flip_horizontal {
            width - 1 - x
        } else {
            x
        };
        let y = if self.flip_vertical {
            height - 1 - y
        } else {
            y
        };
        (x, y)
    }
}

/// Rotation and scale about the centre of an image.
struct Turn {
    cos: f64,
    sin: f64,
    scale: f64,
    /// Width by height, since a square of the model's input shows an image of any aspect ratio.
    aspect: f64,
}

impl Turn {
    fn new(transform: &Transform, [x0, y0, x1, y1]: Rectangle) -> Self {
        let (sin, cos) = transform.rotate.to_radians().sin_cos();
        Self {
            cos,
            sin,
            scale: transform.scale,
            aspect: (x1 - x0) as f64 / ((y1 - y0) as f64).max(1.0),
        }
    }

    /// The position before the turn that is then shown at `u`, `v`, all as shares of the sides.
    fn source(&self, u: f64, v: f64) -> (f64, f64) {
        let (x, y) = ((u - 0.5) * self.aspect, v - 0.5);
        let back = (self.cos * x + self.sin * y, self.cos * y - self.sin * x);
        let (x, y) = (back.0 / self.scale, back.1 / self.scale);
        (x / self.aspect + 0.5, y + 0.5)
    }
}

/// The centre of a pixel as a share of a side.
fn centre(index: usize, side: usize) -> f64 {
    (index as f64 + 0.5) / side as f64
}

/// The colour between pixels; black outside the image.
fn bilinear(image: &RgbImage, x: f64, y: f64) -> [u8; 3] {
    let (right, bottom) = (image.width as f64 - 0.5, image.height as f64 - 0.5);
    if !(-0.5..right).contains(&x) || !(-0.5..bottom).contains(&y) {
        return [0; 3];
    }
    let ends = |position: f64, length: usize| {
        let position = position.clamp(0.0, (length - 1) as f64);
        let first = position as usize;
        (first, (first + 1).min(length - 1), position - first as f64)
    };
    let ((x0, x1, right), (y0, y1, down)) = (ends(x, image.width), ends(y, image.height));
    std::array::from_fn(|channel| {
        let level = |x: usize, y: usize| f64::from(image.data[3 * (y * image.width + x) + channel]);
        let upper = level(x0, y0) * (1.0 - right) + level(x1, y0) * right;
        let lower = level(x0, y1) * (1.0 - right) + level(x1, y1) * right;
        (upper * (1.0 - down) + lower * down).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::AugmentConfig;
    use vlsm_image::resize_mask;

    const NONE: Transform = Transform::IDENTITY;

    /// A white ellipse off the centre on black, and its mask.
    fn scene(width: usize, height: usize) -> (RgbImage, Mask) {
        let mask = Mask::from_fn(width, height, |x, y| {
            let (x, y) = (
                x as f64 / width as f64 - 0.3,
                y as f64 / height as f64 - 0.4,
            );
            u8::from((x / 0.2).powi(2) + (y / 0.12).powi(2) < 1.0)
        });
        let image = RgbImage::from_fn(width, height, |x, y| [255 * mask.data[y * width + x]; 3]);
        (image, mask)
    }

    #[test]
    fn nothing_changes_without_a_transform() {
        let (image, mask) = scene(70, 45);
        assert!(NONE.is_identity());
        assert_eq!(NONE.image(&image, 32), resize_image(&image, 32));
        assert_eq!(NONE.mask(&mask, 24), resize_mask(&mask, 24, 24));
    }

    #[test]
    fn a_mirrored_image_has_its_mask_on_the_other_side() {
        let (image, mask) = scene(64, 64);
        let flip = Transform {
            flip_horizontal: true,
            ..NONE
        };
        let flipped = flip.mask(&mask, 64);
        for y in 0..64 {
            for x in 0..64 {
                assert_eq!(flipped.data[y * 64 + x], mask.data[y * 64 + 63 - x]);
            }
        }
        let twice = Transform {
            flip_vertical: true,
            ..flip
        };
        assert_eq!(twice.mask(&twice.mask(&mask, 64), 64), mask);
        assert_eq!(twice.image(&twice.image(&image, 64), 64), image);
    }

    #[test]
    fn a_quarter_turn_is_clockwise() {
        // One pixel in the top left corner comes to the top right.
        let mask = Mask::from_fn(9, 9, |x, y| u8::from((x, y) == (0, 0)));
        let turned = Transform {
            rotate: 90.0,
            ..NONE
        }
        .mask(&mask, 9);
        assert_eq!(turned.bounding_box(), Some([8, 0, 9, 1]));
    }

    #[test]
    fn image_and_mask_go_through_the_same_steps() {
        let config = AugmentConfig {
            flip_horizontal: 0.5,
            flip_vertical: 0.5,
            rotate: 40.0,
            scale: 0.4,
            crop: 0.3,
            ..AugmentConfig::default()
        };
        for (seed, (width, height)) in [(64, 64), (96, 50), (40, 90), (5, 3)]
            .into_iter()
            .cycle()
            .take(40)
            .enumerate()
        {
            let (image, mask) = scene(width, height);
            let (transform, _) = config.draw("lesion", seed as u64);
            let (image, mask) = (transform.image(&image, 64), transform.mask(&mask, 48));
            // Compared at the mask's size: white inside, black outside, but for the edge.
            let levels = resize_image(&image, 48);
            let pairs = levels.data.iter().step_by(3).zip(&mask.data);
            let wrong = pairs
                .filter(|(level, mask)| (**level > 127) != (**mask == 1))
                .count();
            if width > 10 {
                assert!(wrong < 48 * 48 / 25, "{wrong} pixels differ: {transform:?}");
            }
        }
    }

    #[test]
    fn levels_change_and_the_noise_is_the_seeds() {
        let image = RgbImage::filled(16, 16, [100, 150, 50]);
        let dark = Transform {
            brightness: 0.5,
            ..NONE
        }
        .image(&image, 16);
        assert_eq!(dark.data[..3], [50, 75, 25]);
        let grey = Transform {
            saturation: 0.0,
            ..NONE
        }
        .image(&image, 16);
        assert!(grey.data[0] == grey.data[1] && grey.data[1] == grey.data[2]);
        let flat = Transform {
            contrast: 0.0,
            ..NONE
        }
        .image(&scene(32, 32).0, 32);
        assert!(flat.data.iter().all(|level| *level == flat.data[0]));
        let noisy = Transform { noise: 0.1, ..NONE };
        let one = noisy.image(&image, 16);
        assert_eq!(one, noisy.image(&image, 16));
        assert!(one != Transform { seed: 6, ..noisy }.image(&image, 16));
        let (scene, _) = scene(64, 64);
        let soft = Transform { blur: 2.0, ..NONE }.image(&scene, 64);
        let mean = |image: &RgbImage| {
            image
                .data
                .iter()
                .map(|level| f64::from(*level))
                .sum::<f64>()
                / image.data.len() as f64
        };
        assert!((mean(&soft) - mean(&scene)).abs() < 1.5);
        assert!(soft.data.iter().any(|level| (80..170).contains(level)));
    }
}
