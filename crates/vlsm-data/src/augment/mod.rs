//! Augmentation: random changes of training images, the same for image and mask, with the words of the prompt kept true.
//!
//! What happens to a sample is drawn once, from a seed, as a [`Transform`]; the [`Loader`](crate::Loader) applies it. So a training
//! that is resumed has the same images.

mod pixels;
mod transform;
mod words;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use transform::Transform;
use words::{Facts, mirrored};

use crate::error::{DataError, Result};

/// `[augment]`: random changes of the training images. Off by default, and not in profile `paper`.
///
/// Words of a prompt stay true: "left" and "right", "top" and "bottom" are exchanged in mirrored images, and images whose prompt has
/// words of position are not rotated, scaled or cropped; those with words of size or number are not scaled or cropped. English words
/// are recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Probability to mirror left and right.
    pub flip_horizontal: f64,
    /// Probability to mirror top and bottom.
    pub flip_vertical: f64,
    /// Largest rotation in degrees, in both directions.
    pub rotate: f64,
    /// Largest change of size: with 0.2, by a factor from 1 / 1.2 to 1.2.
    pub scale: f64,
    /// Largest share of each side that is cut off: with 0.2, at least 0.8 of the width and of the height remain.
    pub crop: f64,
    /// Largest change of brightness, contrast and saturation: with 0.2, each by a factor from 0.8 to 1.2.
    pub color: f64,
    /// Largest standard deviation of a Gaussian blur, in pixels of the model's input.
    pub blur: f64,
    /// Largest standard deviation of Gaussian noise, as a share of the range from black to white.
    pub noise: f64,
}

impl AugmentConfig {
    /// Whether anything is changed at all.
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`DataError::Config`] for a value out of range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("augment.flip_horizontal", self.flip_horizontal, 1.0),
            ("augment.flip_vertical", self.flip_vertical, 1.0),
            ("augment.rotate", self.rotate, 180.0),
            ("augment.scale", self.scale, 1.0),
            ("augment.crop", self.crop, 0.9),
            ("augment.color", self.color, 1.0),
            ("augment.blur", self.blur, 10.0),
            ("augment.noise", self.noise, 1.0),
        ];
        match ranges
            .iter()
            .find(|(_, value, most)| !(0.0..=*most).contains(value))
        {
            Some((field, value, most)) => Err(DataError::Config {
                field,
                reason: format!("is {value}; give a number from 0 to {most}"),
            }),
            None => Ok(()),
        }
    }

    /// What happens to a training sample with this prompt, and the prompt afterwards. `seed` must be its own in every epoch.
    ///
    /// ```
    /// use vlsm_data::AugmentConfig;
    ///
    /// let config = AugmentConfig { flip_horizontal: 1.0, rotate: 90.0, ..AugmentConfig::default() };
    /// let (transform, prompt) = config.draw("polyp in the top left", 7);
    /// assert_eq!(prompt, "polyp in the top right");
    /// // Rotated, it might be elsewhere.
    /// assert!(transform.flip_horizontal && transform.rotate == 0.0);
    /// ```
    pub fn draw(&self, prompt: &str, seed: u64) -> (Transform, String) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // All are drawn for every sample, so that a word changes nothing but what it excludes.
        let mut unit = || rng.random::<f64>();
        let flip_horizontal = unit() < self.flip_horizontal;
        let flip_vertical = unit() < self.flip_vertical;
        let mut within = |most: f64| (2.0 * unit() - 1.0) * most;
        let rotate = within(self.rotate);
        let scale = (1.0 + self.scale).powf(within(1.0));
        let brightness = 1.0 + within(self.color);
        let contrast = 1.0 + within(self.color);
        let saturation = 1.0 + within(self.color);
        let (width, height) = (1.0 - self.crop * unit(), 1.0 - self.crop * unit());
        let (x, y) = ((1.0 - width) * unit(), (1.0 - height) * unit());
        let (blur, noise) = (self.blur * unit(), self.noise * unit());
        let facts = Facts::of(prompt);
        let flip_vertical = flip_vertical && !facts.fixes_vertical;
        let turns = !facts.position;
        let resizes = !facts.position && !facts.size && !facts.number;
        let transform = Transform {
            flip_horizontal,
            flip_vertical,
            rotate: if turns { rotate } else { 0.0 },
            scale: if resizes { scale } else { 1.0 },
            crop: if resizes {
                [x, y, x + width, y + height]
            } else {
                Transform::WHOLE
            },
            brightness,
            contrast,
            saturation,
            blur,
            noise,
            seed,
        };
        (transform, mirrored(prompt, flip_horizontal, flip_vertical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: AugmentConfig = AugmentConfig {
        flip_horizontal: 0.5,
        flip_vertical: 0.5,
        rotate: 30.0,
        scale: 0.3,
        crop: 0.4,
        color: 0.2,
        blur: 1.0,
        noise: 0.1,
    };

    #[test]
    fn what_is_drawn_depends_on_the_seed_and_stays_in_range() {
        let mut different = 0;
        for seed in 0..200 {
            let (transform, prompt) = ALL.draw("polyp", seed);
            assert_eq!((transform, prompt), ALL.draw("polyp", seed));
            assert!(transform.rotate.abs() <= 30.0);
            assert!((1.0 / 1.3..=1.3).contains(&transform.scale));
            let [x0, y0, x1, y1] = transform.crop;
            assert!(0.0 <= x0 && x1 <= 1.0 + 1e-9 && x1 - x0 >= 0.6 - 1e-9);
            assert!(0.0 <= y0 && y1 <= 1.0 + 1e-9 && y1 - y0 >= 0.6 - 1e-9);
            different += usize::from(transform != ALL.draw("polyp", seed + 1).0);
        }
        assert_eq!(different, 200);
        let off = AugmentConfig::default();
        assert!(!off.is_on() && ALL.is_on());
        assert!(off.draw("polyp on the left", 3).0.is_identity());
    }

    #[test]
    fn words_exclude_what_would_make_them_false() {
        for seed in 0..50 {
            let (place, _) = ALL.draw("small polyp, located in top left of the image", seed);
            assert_eq!(
                (place.rotate, place.scale, place.crop),
                (0.0, 1.0, Transform::WHOLE)
            );
            let (size, _) = ALL.draw("one small red polyp", seed);
            assert!(size.rotate != 0.0 && size.scale == 1.0 && size.crop == Transform::WHOLE);
            // Everything else is as without the words.
            let (plain, _) = ALL.draw("polyp", seed);
            assert_eq!(plain.flip_horizontal, place.flip_horizontal);
            assert_eq!(
                (plain.noise, plain.brightness),
                (size.noise, size.brightness)
            );
            assert!(!ALL.draw("the disc under the square", seed).0.flip_vertical);
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        ALL.validate().unwrap();
        let wrong = AugmentConfig { crop: 1.0, ..ALL };
        assert!(
            wrong
                .validate()
                .unwrap_err()
                .to_string()
                .contains("augment.crop")
        );
        let wrong = AugmentConfig {
            noise: f64::NAN,
            ..ALL
        };
        assert!(wrong.validate().is_err());
    }
}
