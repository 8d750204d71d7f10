//! Reads binary masks: the grey levels of a file, and the rules by which levels become foreground.

use std::path::Path;

use image::{DynamicImage, ImageFormat};

use crate::arrays::Mask;
use crate::class_map::oriented;
use crate::decode::{decode, format_of_page, guarded, unsupported};
use crate::error::Result;
use crate::fs::read_bytes;
use crate::luma::{luma, luma16};
use crate::raw_png::RawPng;

/// Difference between two channels above which a pixel is a colour. JPEG's greys differ by less.
const COLOUR: u8 = 64;

/// The levels of a mask file, before they are split into foreground and background.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GreyMask {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// EXIF orientation of the file, from 1 to 8; it is applied.
    pub orientation: u8,
    /// Whether the file's format keeps levels as they are. JPEG and WebP may not.
    pub lossless: bool,
    /// Whether the file's alpha differs between pixels. Alpha is dropped.
    pub alpha_varies: bool,
    /// Share of the pixels with a colour.
    pub coloured: f64,
    /// Levels; of colours and palettes the luma, as in PIL's `convert("L")`.
    levels: Vec<u16>,
    /// The format's highest level: 255, 65535, or 1, 3 or 15.
    full: u16,
    /// The largest level of the file.
    max: u16,
    /// Palette indices, if the file has a palette.
    indices: Option<Vec<u8>>,
}

/// How levels become foreground.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LevelRule {
    /// As each file's own levels suggest; see [`read_mask`].
    #[default]
    File,
    /// The upper half of the format's full scale is foreground.
    Half,
    /// Everything but 0 is foreground in lossless files; the others as [`Half`](Self::Half).
    NonZero,
    /// 1 is foreground, and 255 is left out of loss and metrics.
    Void,
}

/// Reads a binary mask in any format that [`read_image`](crate::read_image) reads.
///
/// A pixel is foreground if its level is at least half of the format's full scale: 128 of 255, 32768 of 65535, the upper
/// half of 2 and 4 bits, 1 of 1 bit. Colour and palette masks are first converted to luma, like PIL's `convert("L")`.
/// Some common masks would silently be empty with this rule, so there are exceptions:
/// - if the largest level is 1 in a lossless format, the mask has the levels {0, 1}: 1 is foreground;
/// - if the largest level of a 16-bit mask is 255, it has 8-bit levels: 128 and above is foreground;
/// - if a palette mask uses only the indices 0 and 1, both darker than half (such as VOC's dark red), index 1 is
///   foreground.
///
/// This looks at one file. A data set decides once what the levels of all its masks mean.
///
/// # Errors
/// As [`read_image`](crate::read_image).
pub fn read_mask(path: &Path) -> Result<Mask> {
    Ok(decode_mask(path, &read_bytes(path)?, false)?.mask(LevelRule::File))
}

/// Decodes the content of a mask file; `path` is for errors. `first_page` reads the first page of a file with several.
///
/// # Errors
/// As [`decode_image`](crate::decode_image).
pub fn decode_mask(path: &Path, bytes: &[u8], first_page: bool) -> Result<GreyMask> {
    guarded(path, || mask_from(path, bytes, first_page))
}

fn mask_from(path: &Path, bytes: &[u8], first_page: bool) -> Result<GreyMask> {
    let format = format_of_page(path, bytes, first_page)?;
    if format == ImageFormat::Png
        && let Some(png) = RawPng::decode(path, bytes)?
    {
        return Ok(of_png(png));
    }
    let (decoded, orientation) = decode(path, bytes, format)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let every = |data: &[u8], step: usize| -> Vec<u16> {
        data.chunks_exact(step).map(|p| u16::from(p[0])).collect()
    };
    let colours = |data: &[u8], step: usize| -> Vec<u16> {
        let pixels = data.chunks_exact(step);
        pixels.map(|p| luma(p[0], p[1], p[2])).collect()
    };
    let coloured = |data: &[u8], step: usize| {
        let is_colour = |p: &&[u8]| {
            p[0].abs_diff(p[1]) > COLOUR
                || p[1].abs_diff(p[2]) > COLOUR
                || p[0].abs_diff(p[2]) > COLOUR
        };
        data.chunks_exact(step).filter(is_colour).count() as f64 / (width * height) as f64
    };
    let (levels, full, alpha_varies, coloured) = match decoded {
        DynamicImage::ImageLuma8(pixels) => (every(pixels.as_raw(), 1), 255, false, 0.0),
        DynamicImage::ImageLumaA8(pixels) => (
            every(pixels.as_raw(), 2),
            255,
            varies(pixels.as_raw(), 2),
            0.0,
        ),
        DynamicImage::ImageLuma16(pixels) => (pixels.into_raw(), 65535, false, 0.0),
        DynamicImage::ImageLumaA16(pixels) => {
            let levels = pixels.as_raw().chunks_exact(2).map(|p| p[0]).collect();
            (levels, 65535, varies(pixels.as_raw(), 2), 0.0)
        }
        DynamicImage::ImageRgb8(pixels) => {
            let data = pixels.as_raw();
            (colours(data, 3), 255, false, coloured(data, 3))
        }
        DynamicImage::ImageRgba8(pixels) => {
            let data = pixels.as_raw();
            (colours(data, 4), 255, varies(data, 4), coloured(data, 4))
        }
        DynamicImage::ImageRgb16(pixels) => {
            let levels = pixels.as_raw().chunks_exact(3).map(luma16).collect();
            (levels, 65535, false, 0.0)
        }
        DynamicImage::ImageRgba16(pixels) => {
            let levels = pixels.as_raw().chunks_exact(4).map(luma16).collect();
            (levels, 65535, varies(pixels.as_raw(), 4), 0.0)
        }
        other => return Err(unsupported(path, &other)),
    };
    Ok(GreyMask {
        width,
        height,
        orientation: orientation.to_exif(),
        lossless: matches!(
            format,
            ImageFormat::Png | ImageFormat::Bmp | ImageFormat::Tiff
        ),
        alpha_varies,
        coloured,
        max: highest(&levels),
        levels,
        full,
        indices: None,
    })
}

fn of_png(png: RawPng) -> GreyMask {
    let orientation = png.orientation;
    let (width, height, values) = oriented(png.width, png.height, png.values, orientation);
    let mut mask = GreyMask {
        width,
        height,
        orientation: orientation.to_exif(),
        lossless: true,
        alpha_varies: false,
        coloured: 0.0,
        levels: Vec::new(),
        full: 255,
        max: 0,
        indices: None,
    };
    match png.palette {
        None => {
            mask.full = (1 << png.bits) - 1;
            mask.levels = values.iter().map(|&v| u16::from(v)).collect();
        }
        Some(palette) => {
            let luma = |&index: &u8| {
                palette
                    .get(usize::from(index))
                    .map_or(0, |&[r, g, b]| luma(r, g, b))
            };
            let alpha = |&index: &u8| png.alpha.get(usize::from(index)).copied().unwrap_or(255);
            mask.levels = values.iter().map(luma).collect();
            mask.alpha_varies =
                !png.alpha.is_empty() && varies(&values.iter().map(alpha).collect::<Vec<u8>>(), 1);
            mask.indices = Some(values);
        }
    }
    mask.max = highest(&mask.levels);
    mask
}

fn highest(levels: &[u16]) -> u16 {
    levels.iter().copied().max().unwrap_or(0)
}

/// Whether the last of each `step` values differs between pixels.
fn varies<T: PartialEq>(data: &[T], step: usize) -> bool {
    let mut alpha = data.chunks_exact(step).map(|pixel| &pixel[step - 1]);
    let first = alpha.next();
    alpha.any(|value| Some(value) != first)
}

impl GreyMask {
    /// The mask by a rule.
    pub fn mask(&self, rule: LevelRule) -> Mask {
        let data = match rule {
            LevelRule::File => self.by_file(),
            LevelRule::NonZero if self.lossless => {
                self.levels.iter().map(|&v| u8::from(v > 0)).collect()
            }
            LevelRule::Half | LevelRule::NonZero => self.from(self.half()),
            LevelRule::Void => {
                let value = |id: u16| match id {
                    1 => 1,
                    255 => Mask::IGNORE,
                    _ => 0,
                };
                match &self.indices {
                    Some(indices) => indices.iter().map(|&v| value(u16::from(v))).collect(),
                    None => self.levels.iter().map(|&v| value(self.scaled(v))).collect(),
                }
            }
        };
        Mask {
            width: self.width,
            height: self.height,
            data,
        }
    }

    /// The number of pixels at each level, scaled to 0 to 255. `None` for 16-bit masks whose largest level is neither up to
    /// 255 nor in the upper half, which no rule fits.
    pub fn histogram(&self) -> Option<[u32; 256]> {
        if self.full == u16::MAX && (256..=u16::MAX / 2).contains(&self.max) {
            return None;
        }
        let mut counts = [0; 256];
        for &level in &self.levels {
            counts[self.index(level)] += 1;
        }
        Some(counts)
    }

    /// As [`histogram`](Self::histogram), of the pixels whose four neighbours have the same level. Smooth edges have next to
    /// none, areas of a class id have many.
    pub fn flat_histogram(&self) -> Option<[u32; 256]> {
        let levels = &self.levels;
        self.histogram()?;
        let mut counts = [0; 256];
        for y in 1..self.height.saturating_sub(1) {
            for x in 1..self.width.saturating_sub(1) {
                let at = y * self.width + x;
                let around = [at - self.width, at - 1, at + 1, at + self.width];
                if around.iter().all(|&other| levels[other] == levels[at]) {
                    counts[self.index(levels[at])] += 1;
                }
            }
        }
        Some(counts)
    }

    /// The number of pixels with each id: palette indices, or grey levels as in [`histogram`](Self::histogram).
    pub fn ids(&self) -> Option<[u32; 256]> {
        let Some(indices) = &self.indices else {
            return self.histogram();
        };
        let mut counts = [0; 256];
        for &index in indices {
            counts[usize::from(index)] += 1;
        }
        Some(counts)
    }

    /// The largest level of the file.
    pub fn max(&self) -> u16 {
        self.max
    }

    /// A level's index in a histogram.
    fn index(&self, level: u16) -> usize {
        let level = if self.full == u16::MAX && self.max > 255 {
            (u32::from(level) + 128) / 257
        } else {
            self.scaled(level).into()
        };
        level.min(255) as usize
    }

    /// A level of fewer than 8 bits, scaled to 0 to 255 as the PNG specification says; others unchanged.
    fn scaled(&self, level: u16) -> u16 {
        match self.full {
            full @ 1..255 => level * (255 / full),
            _ => level,
        }
    }

    /// The lowest level that is foreground by [`LevelRule::Half`].
    fn half(&self) -> u16 {
        match self.full {
            // 8-bit levels in a 16-bit file.
            u16::MAX if self.max == 255 => 128,
            full => full / 2 + 1,
        }
    }

    fn from(&self, lowest: u16) -> Vec<u8> {
        let foreground = |&level: &u16| u8::from(level >= lowest);
        self.levels.iter().map(foreground).collect()
    }

    fn by_file(&self) -> Vec<u8> {
        let data = match self.max {
            1 if self.lossless => self.from(1),
            _ => self.from(self.half()),
        };
        if let Some(indices) = &self.indices
            && !data.contains(&1)
            && indices.iter().all(|&index| index <= 1)
        {
            return indices.clone();
        }
        data
    }
}
