//! The three kinds of pixel arrays: colour image, binary mask, class ids.
//!
//! They are `#[non_exhaustive]`, so that other crates use constructors, which check the length of `data`.

use crate::error::{ImageError, Result};

/// An 8-bit colour image. `data` is `[height, width, 3]`, row by row, red first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RgbImage {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` levels.
    pub data: Vec<u8>,
}

/// A binary mask. `data` is `[height, width]`: 0 is background, 1 is foreground, [`Mask::IGNORE`] is left out of the
/// loss and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mask {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width` values: 0, 1 or [`Mask::IGNORE`].
    pub data: Vec<u8>,
}

/// A mask of raw class ids. `data` is `[height, width]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassMap {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width` class ids.
    pub data: Vec<u8>,
}

impl RgbImage {
    /// An image from `data`, `[height, width, 3]`.
    ///
    /// # Errors
    /// [`ImageError::Shape`] if `data` has another length.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self> {
        check_len("RgbImage::new", (width, height, 3), data.len())?;
        Ok(Self {
            width,
            height,
            data,
        })
    }

    /// An image of one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self {
            width,
            height,
            data: colour.repeat(width * height),
        }
    }

    /// An image with the colour `colour(x, y)` at each pixel.
    pub fn from_fn(
        width: usize,
        height: usize,
        mut colour: impl FnMut(usize, usize) -> [u8; 3],
    ) -> Self {
        let mut data = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width {
                data.extend(colour(x, y));
            }
        }
        Self {
            width,
            height,
            data,
        }
    }

    /// The part of `width` times `height` pixels whose first pixel is at column `x` and row `y`; as much of it as the image
    /// has.
    pub fn crop(&self, (x, y): (usize, usize), (width, height): (usize, usize)) -> Self {
        let (x, y) = (x.min(self.width), y.min(self.height));
        let (width, height) = (width.min(self.width - x), height.min(self.height - y));
        let mut data = Vec::with_capacity(width * height * 3);
        for row in y..y + height {
            let start = (row * self.width + x) * 3;
            data.extend_from_slice(&self.data[start..start + width * 3]);
        }
        Self {
            width,
            height,
            data,
        }
    }
}

impl Mask {
    /// Value of a pixel that is left out of the loss and the metrics.
    pub const IGNORE: u8 = 255;

    /// A mask from `data`, `[height, width]`.
    ///
    /// # Errors
    /// [`ImageError::Shape`] if `data` has another length.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self> {
        check_len("Mask::new", (width, height, 1), data.len())?;
        Ok(Self {
            width,
            height,
            data,
        })
    }

    /// A mask without foreground.
    pub fn empty(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            data: vec![0; width * height],
        }
    }

    /// A mask with `value(x, y)` at each pixel: 0, 1 or [`Mask::IGNORE`].
    pub fn from_fn(width: usize, height: usize, value: impl FnMut(usize, usize) -> u8) -> Self {
        Self {
            width,
            height,
            data: values(width, height, value),
        }
    }

    /// A mask from probabilities `[height, width]`: foreground where the probability is at least `threshold`.
    ///
    /// # Errors
    /// [`ImageError::Shape`] if `probabilities` has another length.
    pub fn from_probabilities(
        width: usize,
        height: usize,
        probabilities: &[f32],
        threshold: f32,
    ) -> Result<Self> {
        check_len(
            "Mask::from_probabilities",
            (width, height, 1),
            probabilities.len(),
        )?;
        let data = probabilities
            .iter()
            .map(|&p| u8::from(p >= threshold))
            .collect();
        Ok(Self {
            width,
            height,
            data,
        })
    }

    /// Bounding box of the foreground: x0, y0, x1, y1, the last two exclusive. `None` without foreground.
    pub fn bounding_box(&self) -> Option<[usize; 4]> {
        let pixels = self.data.iter().enumerate().filter(|(_, v)| **v == 1);
        let boxes = pixels.map(|(index, _)| {
            let (x, y) = (index % self.width, index / self.width);
            [x, y, x + 1, y + 1]
        });
        boxes.reduce(|a, b| {
            [
                a[0].min(b[0]),
                a[1].min(b[1]),
                a[2].max(b[2]),
                a[3].max(b[3]),
            ]
        })
    }

    /// Number of foreground pixels.
    pub fn foreground(&self) -> usize {
        self.data.iter().filter(|&&v| v == 1).count()
    }
}

impl ClassMap {
    /// A map from `data`, `[height, width]`.
    ///
    /// # Errors
    /// [`ImageError::Shape`] if `data` has another length.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self> {
        check_len("ClassMap::new", (width, height, 1), data.len())?;
        Ok(Self {
            width,
            height,
            data,
        })
    }

    /// A map with the same id everywhere.
    pub fn filled(width: usize, height: usize, id: u8) -> Self {
        Self {
            width,
            height,
            data: vec![id; width * height],
        }
    }

    /// The same map with every id replaced by `new(id)`.
    pub fn map_ids(&self, mut new: impl FnMut(u8) -> u8) -> Self {
        Self {
            data: self.data.iter().map(|&id| new(id)).collect(),
            ..*self
        }
    }

    /// The binary mask of one class: 1 where the id is `class`, [`Mask::IGNORE`] where it is `ignore`, else 0.
    pub fn mask_of(&self, class: u8, ignore: Option<u8>) -> Mask {
        let data = match ignore {
            None => self.data.iter().map(|&id| u8::from(id == class)).collect(),
            Some(ignore) => {
                let value =
                    |&id: &u8| u8::from(id == class) | if id == ignore { Mask::IGNORE } else { 0 };
                self.data.iter().map(value).collect()
            }
        };
        Mask {
            width: self.width,
            height: self.height,
            data,
        }
    }

    /// The binary mask of all labelled pixels: [`Mask::IGNORE`] where the id is `ignore`, else 1.
    pub fn labelled(&self, ignore: Option<u8>) -> Mask {
        let value = |&id: &u8| if Some(id) == ignore { Mask::IGNORE } else { 1 };
        Mask {
            width: self.width,
            height: self.height,
            data: self.data.iter().map(value).collect(),
        }
    }

    /// Number of pixels with an id.
    pub fn count(&self, id: u8) -> usize {
        self.data.iter().filter(|&&pixel| pixel == id).count()
    }

    /// The ids that occur, ascending.
    pub fn ids(&self) -> Vec<u8> {
        let mut seen = [false; 256];
        for &id in &self.data {
            seen[usize::from(id)] = true;
        }
        (0..=255u8).filter(|&id| seen[usize::from(id)]).collect()
    }
}

/// `value(x, y)` row by row.
fn values(width: usize, height: usize, mut value: impl FnMut(usize, usize) -> u8) -> Vec<u8> {
    let mut data = Vec::with_capacity(width * height);
    for y in 0..height {
        data.extend((0..width).map(|x| value(x, y)));
    }
    data
}

/// Checks that `len` is `width * height * channels`.
pub(crate) fn check_len(
    what: &'static str,
    (width, height, channels): (usize, usize, usize),
    len: usize,
) -> Result<()> {
    if width
        .checked_mul(height)
        .and_then(|n| n.checked_mul(channels))
        == Some(len)
    {
        return Ok(());
    }
    Err(ImageError::Shape {
        what,
        reason: format!(
            "{len} values for {width}x{height} pixels with {channels} channels; they must be as many as width x height x channels"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_becomes_a_mask_and_the_ignored_id_stays_ignored() {
        let map = ClassMap {
            width: 4,
            height: 1,
            data: vec![0, 3, 11, 3],
        };
        assert_eq!(map.mask_of(3, Some(11)).data, [0, 1, Mask::IGNORE, 1]);
        assert_eq!(map.mask_of(0, None).data, [1, 0, 0, 0]);
        assert_eq!(map.labelled(Some(11)).data, [1, 1, Mask::IGNORE, 1]);
        assert_eq!(map.ids(), [0, 3, 11]);
        assert_eq!([map.count(3), map.count(4)], [2, 0]);
    }

    #[test]
    fn a_crop_ends_at_the_images_border() {
        let image = RgbImage::from_fn(5, 4, |x, y| [x as u8, y as u8, 0]);
        let part = image.crop((1, 2), (2, 9));
        assert_eq!((part.width, part.height), (2, 2));
        assert_eq!(part.data, [1, 2, 0, 2, 2, 0, 1, 3, 0, 2, 3, 0]);
        assert!(image.crop((9, 0), (1, 1)).data.is_empty());
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        assert!(RgbImage::new(2, 2, vec![0; 11]).is_err());
        assert!(Mask::new(usize::MAX, 2, vec![]).is_err());
        assert_eq!(
            Mask::from_probabilities(3, 1, &[0.2, 0.5, 0.7], 0.5)
                .unwrap()
                .data,
            [0, 1, 1]
        );
    }
}
