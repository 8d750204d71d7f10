//! How images of any shape become squares, and answers about the squares become those about the images.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::arrays::{ClassMap, Mask, RgbImage};

/// The level of the padding, a grey between black and white.
const PADDING: u8 = 114;

/// How images of other shapes become the square input of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Squashed, as published.
    #[default]
    Stretch,
    /// Padded with grey on both of the shorter sides, so that shapes keep their aspect ratio. Padding counts neither in the loss nor
    /// in the metrics.
    Pad,
}

impl Fit {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Pad => "pad",
        }
    }

    /// Width and height of an image with its padding.
    pub fn padded_size(self, (width, height): (usize, usize)) -> (usize, usize) {
        match self {
            Self::Stretch => (width, height),
            Self::Pad => (width.max(height), width.max(height)),
        }
    }

    /// Column and row of an image's first pixel in the padded image.
    fn corner(self, size: (usize, usize)) -> (usize, usize) {
        let padded = self.padded_size(size);
        ((padded.0 - size.0) / 2, (padded.1 - size.1) / 2)
    }

    /// An image with its padding.
    pub fn image(self, image: &RgbImage) -> Cow<'_, RgbImage> {
        let size = (image.width, image.height);
        let (width, height) = self.padded_size(size);
        if (width, height) == size {
            return Cow::Borrowed(image);
        }
        Cow::Owned(RgbImage {
            width,
            height,
            data: self.padded(&image.data, size, 3, PADDING),
        })
    }

    /// A mask with its padding, which is [ignored](Mask::IGNORE).
    pub fn mask(self, mask: &Mask) -> Cow<'_, Mask> {
        let size = (mask.width, mask.height);
        let (width, height) = self.padded_size(size);
        if (width, height) == size {
            return Cow::Borrowed(mask);
        }
        Cow::Owned(Mask {
            width,
            height,
            data: self.padded(&mask.data, size, 1, Mask::IGNORE),
        })
    }

    /// A mask of class ids with its padding, whose id is 0; see [`ignore_padding`](Self::ignore_padding).
    pub fn class_map(self, map: &ClassMap) -> Cow<'_, ClassMap> {
        let size = (map.width, map.height);
        let (width, height) = self.padded_size(size);
        if (width, height) == size {
            return Cow::Borrowed(map);
        }
        Cow::Owned(ClassMap {
            width,
            height,
            data: self.padded(&map.data, size, 1, 0),
        })
    }

    /// Ignores the padding in a mask that was made for an image of a width and height and then resized by nearest neighbour.
    pub fn ignore_padding(self, mask: &mut Mask, size: (usize, usize)) {
        if self.padded_size(size) == size {
            return;
        }
        let inside = Mask {
            width: size.0,
            height: size.1,
            data: vec![0; size.0 * size.1],
        };
        let inside = crate::resize_mask(&self.mask(&inside), mask.width, mask.height);
        for (value, inside) in mask.data.iter_mut().zip(inside.data) {
            if inside == Mask::IGNORE {
                *value = Mask::IGNORE;
            }
        }
    }

    /// The values of an image's own pixels, `[height, width]`, of those of the padded image.
    pub fn unpadded<T: Copy>(self, values: Vec<T>, size: (usize, usize)) -> Vec<T> {
        let (padded, (x, y)) = (self.padded_size(size), self.corner(size));
        if padded == size {
            return values;
        }
        let mut own = Vec::with_capacity(size.0 * size.1);
        for row in values.chunks(padded.0.max(1)).skip(y).take(size.1) {
            own.extend_from_slice(&row[x..x + size.0]);
        }
        own
    }

    /// The part of a padded image's mask that is the image's own.
    pub fn unpadded_mask(self, mask: Mask, size: (usize, usize)) -> Mask {
        Mask {
            width: size.0,
            height: size.1,
            data: self.unpadded(mask.data, size),
        }
    }

    /// The part of a padded image's labels that is the image's own.
    pub fn unpadded_labels(self, labels: ClassMap, size: (usize, usize)) -> ClassMap {
        ClassMap {
            width: size.0,
            height: size.1,
            data: self.unpadded(labels.data, size),
        }
    }

    /// Rows of `channels` values a pixel with `fill` around them.
    fn padded(self, data: &[u8], size: (usize, usize), channels: usize, fill: u8) -> Vec<u8> {
        let (padded, (x, y)) = (self.padded_size(size), self.corner(size));
        let mut all = vec![fill; padded.0 * padded.1 * channels];
        let rows = data.chunks((size.0 * channels).max(1)).enumerate();
        for (row, values) in rows {
            let start = ((y + row) * padded.0 + x) * channels;
            all[start..start + values.len()].copy_from_slice(values);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_around_the_image_and_taken_off_again() {
        for (width, height) in [(5, 2), (2, 5), (3, 3), (1, 4)] {
            let image = RgbImage::from_fn(width, height, |x, y| [x as u8, y as u8, 7]);
            let mask = Mask::from_fn(width, height, |x, y| u8::from(x > y));
            let (padded, padded_mask) = (Fit::Pad.image(&image), Fit::Pad.mask(&mask));
            let side = width.max(height);
            assert_eq!((padded.width, padded.height), (side, side));
            let own = padded.data.chunks(3).filter(|pixel| pixel[2] == 7);
            assert_eq!(own.flatten().copied().collect::<Vec<_>>(), image.data);
            let ignored = padded_mask.data.iter().filter(|v| **v == Mask::IGNORE);
            assert_eq!(ignored.count(), side * side - width * height);
            let back = Fit::Pad.unpadded(padded_mask.into_owned().data, (width, height));
            assert_eq!(back, mask.data);
            assert_eq!(Fit::Stretch.image(&image).as_ref(), &image);
            assert_eq!(
                Fit::Stretch.unpadded(mask.data.clone(), (width, height)),
                mask.data
            );
        }
    }

    #[test]
    fn padding_is_ignored_after_resizing_too() {
        let mut mask = Mask::empty(4, 4);
        Fit::Pad.ignore_padding(&mut mask, (8, 4));
        let ignored = [Mask::IGNORE; 4];
        let (first, last) = (&mask.data[..4], &mask.data[12..]);
        assert_eq!((first, last), (&ignored[..], &ignored[..]));
        assert_eq!(&mask.data[4..12], [0; 8]);
        let mut whole = Mask::empty(4, 4);
        Fit::Stretch.ignore_padding(&mut whole, (8, 4));
        assert_eq!(whole, Mask::empty(4, 4));
    }
}
